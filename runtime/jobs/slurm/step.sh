# Each task: the bundle in place of the program. A copy on this node loses its name when all of its tasks have it open.
sdee_task='bundle=$1 copy=$2 results=$3 here=$4; shift 4
if [ -n "$copy" ] && [ -f "$copy" ] && [ -O "$copy" ] && [ -x "$copy" ] && command exec 9<"$copy" &&
  [ -O /proc/self/fd/9 ] && case $(ls -Ll /proc/self/fd/9) in -????[!w]??[!w]*) ;; *) false ;; esac; then
  bundle=/proc/self/fd/9 nodes=0
  for tasks in $(echo "$SLURM_STEP_TASKS_PER_NODE" | tr , " "); do # 2(x3),1: the tasks of each node
    case $tasks in *x*) times=${tasks#*x} times=${times%")"};; *) times=1;; esac
    nodes=$((nodes + times)) tasks=${tasks%%"("*}
    [ "$nodes" -le "$SLURM_NODEID" ] || break
  done
  mkdir "$copy.$SLURM_LOCALID" 2>/dev/null || rm -f "$copy" # not ours: the other tasks read the bundle itself
  have=0; for mark in "$copy".*; do [ ! -O "$mark" ] || [ -L "$mark" ] || have=$((have + 1)); done
  [ "$have" -lt "$tasks" ] || { rm -f "$copy"; rmdir "$copy".* 2>/dev/null; }
  if [ "$SLURM_LOCALID" = 0 ]; then # what jobs that were killed at their start left here
    name=@NAME@
    find "${copy%/*}" -maxdepth 1 -name "$name" -type f -user "$(id -u)" -mmin +60 -exec rm -f {} + 2>/dev/null
    find "${copy%/*}" -maxdepth 1 -name "$name.*" -type d -user "$(id -u)" -mmin +60 -exec rmdir {} + 2>/dev/null
  fi
elif [ -n "$copy" ]; then # not executable there
  exec 9<&-
  echo "sdee: $SLURMD_NODENAME: cannot run $copy, or others can write to it; running $bundle instead" >&2
  rm -f "$copy" 2>/dev/null
fi
if [ -n "$results" ]; then
  SDEE_SAVE=${results%%//N//*}$SLURMD_NODENAME${results#*//N//} # one for all ranks of a node: they share what they write
  export SDEE_SAVE
  mkdir -p "${SDEE_SAVE%/*}"
fi
[ -z "$here" ] || { SDEE_CHDIR=$here; export SDEE_CHDIR; }
[ "$#" -eq 0 ] || { SDEE_COMMAND=$1; export SDEE_COMMAND; shift; }
exec @SERVED@"$bundle" "$@"'

# Send the bundle to all of $1 nodes where that pays; sdee_copy is where it is there, or empty
sdee_broadcast() {
  sdee_copy=
  [ -n "$SLURM_JOB_ID" ] || return 0 # run by hand, outside of a job
  case $sdee_when in
  always) ;;
  never) return 0 ;;
  *) [ $(($(wc -c <"$sdee_bundle") * $1)) -ge @BYTES@ ] || return 0 ;;
  esac
  [ -z "$SLURM_HET_SIZE" ] || return 0 # sbcast knows one component only
  for sdee_dir in /dev/shm /tmp; do
    sdee_copy=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    [ ${#sdee_copy} -eq 32 ] || break
    sdee_copy=$sdee_dir/sdee-bundle-$sdee_copy
    sbcast "$sdee_bundle" "$sdee_copy" && return 0
    sdee_everywhere rm -f "$sdee_copy"
  done
  echo "sdee: cannot send the bundle to the nodes; they read $sdee_bundle instead" >&2
  sdee_copy=
}

# One process on each node of the job
sdee_everywhere() {
  command srun --quiet --overlap --mem=0 -N "$SLURM_JOB_NUM_NODES" -n "$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "$@"
}
