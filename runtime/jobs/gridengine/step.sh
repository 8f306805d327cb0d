# One node reads the bundle once, whether from shared storage or to copy it first: a copy is made only when asked
# for, and only into the job's own $TMPDIR: by hand that may be /tmp, where others write too
if [ "$sdee_when" = always ] && [ -n "$JOB_ID" ] && [ -O "$TMPDIR" ]; then
  cp "$sdee_bundle" "$TMPDIR/bundle.sdee" && [ -x "$TMPDIR/bundle.sdee" ] && sdee_bundle=$TMPDIR/bundle.sdee
fi

# The bundle in place of the program: $1 is the directory to run in, or empty
sdee_task() (
  [ -z "$sdee_results" ] || {
    SDEE_SAVE=${sdee_results%%//N//*}$(uname -n)${sdee_results#*//N//}
    export SDEE_SAVE
    mkdir -p "${SDEE_SAVE%/*}"
  }
  [ -z "$1" ] || { SDEE_CHDIR=$1; export SDEE_CHDIR; }
  shift
  [ "$#" -eq 0 ] || { SDEE_COMMAND=$1; export SDEE_COMMAND; shift; }
  exec "$sdee_bundle" "$@"
)
