srun() (
  { set +eux; } 2>/dev/null
  sdee_name= sdee_dir=. sdee_file=
  while [ "$#" -gt 0 ]; do
    sdee_word=$1
    case ${sdee_name:-$1} in
    --version | -V | --help | -h | --usage)
      unset SLURM_JOB_ID SLURM_JOBID
      exec env SDEE_REHEARSAL= SDEE_REAL=1 srun "$1" ;;
    --) shift; break ;;
    --multi-prog) exit 0 ;;
    @VALUES@)
      if [ -z "$sdee_name" ]; then sdee_name=$1; shift; continue; fi
      sdee_word=$sdee_name=$1 sdee_name= ;;
    -*) ;;
    *) break ;;
    esac
    shift
    case $sdee_word in # what decides on what the command finds
    --chdir=* | -D=* | -?D=* | -??D=*) sdee_dir=${sdee_word#*=} ;;
    -D*) sdee_dir=${sdee_word#-D} ;;
    --input=* | -i=* | -?i=* | -??i=*) sdee_file=${sdee_word#*=} ;;
    -i*) sdee_file=${sdee_word#-i} ;;
    --export=*)
      IFS=,
      for sdee_word in ${sdee_word#*=}; do case $sdee_word in *=*) export "$sdee_word" ;; esac; done
      unset IFS ;;
    esac
  done
  cd "$sdee_dir" 2>/dev/null || :
  [ ! -f "$sdee_file" ] || exec <"$sdee_file"
  exec env @STEP@ @PASS@"$@" # the trace shows by this which processes were steps
)
