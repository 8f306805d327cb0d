srun() (
  { set +eux; } 2>/dev/null # the script's own
  sdee_name= sdee_part= sdee_multi=
  for sdee_word; do # up to the command: does the step run on all nodes of the job?
    case $sdee_name in
    -n | --ntasks) [ "$sdee_word" -ge "$SLURM_JOB_NUM_NODES" ] 2>/dev/null || sdee_part=1; sdee_name=; continue ;;
    ?*) sdee_name=; continue ;;
    esac
    case $sdee_word in
    -n | --ntasks) sdee_name=$sdee_word; continue ;;
    -n[0-9]*) [ "${sdee_word#-n}" -ge "$SLURM_JOB_NUM_NODES" ] 2>/dev/null || sdee_part=1 ;;
    --ntasks=*) [ "${sdee_word#*=}" -ge "$SLURM_JOB_NUM_NODES" ] 2>/dev/null || sdee_part=1 ;;
    --nodes* | --nodelist* | --exclude* | --relative* | --nodefile* | --het-group* | --jobid*) sdee_part=1 ;;
    --multi-prog) sdee_multi=1 ;;
    --*) ;;
    -*[NwxrFn]*) sdee_part=1 ;;
    esac
    case $sdee_word in
    @VALUES@) sdee_name=$sdee_word ;;
    -*) ;;
    *) break ;;
    esac
  done
  if [ -n "$sdee_multi" ]; then
    echo "sdee: the programs of srun --multi-prog run on the nodes themselves, not in the bundle" >&2
    exec srun "$@"
  fi
  case $sdee_word in
  -* | "") ;;
  *) # squeue and sacct show it by its program, as srun itself names it; an option that follows wins
    [ -n "$SLURM_JOB_NAME" ] && [ -z "$SLURM_JOB_ID" ] || set -- "--job-name=${sdee_word##*/}" "$@" ;;
  esac
  sdee_copy=
  [ -n "$sdee_part" ] || sdee_broadcast "$SLURM_JOB_NUM_NODES"
  sdee_env=$(sdee_changed)$SDEE_PASS_ENV
  [ -z "$sdee_env" ] || { SDEE_PASS_ENV=$sdee_env; export SDEE_PASS_ENV; }
  sdee_left=$# sdee_state=options
  while [ "$sdee_left" -gt 0 ]; do # each word goes to the end; before the command, what runs it
    sdee_word=$1 sdee_left=$((sdee_left - 1))
    shift
    case $sdee_state in
    value) sdee_state=options ;;
    dashes) sdee_state=first ;;
    command) [ "$sdee_word" != : ] || sdee_state=options ;;
    options)
      case $sdee_word in
      @VALUES@) sdee_state=value ;;
      --) sdee_state=dashes ;;
      -*) ;;
      *) sdee_state=first ;;
      esac ;;
    esac
    if [ "$sdee_state" = first ]; then
      set -- "$@" /bin/sh -c "$sdee_task" sdee "$sdee_bundle" "$sdee_copy" "$sdee_results" .
      sdee_state=command
    fi
    set -- "$@" "$sdee_word"
  done
  [ -n "$sdee_results" ] || exec srun "$@"
  { command exec 3<&0; } 2>/dev/null || exec 3</dev/null # a background command of dash's has no other input
  command srun "$@" <&3 3<&- &
  trap 'kill -s TERM $!' TERM
  trap 'kill -s INT $!' INT
  while :; do
    wait $!
    sdee_status=$?
    kill -s 0 $! 2>/dev/null || break # not by a trap
  done
  sdee_finish "$sdee_status"
  exit "$sdee_status"
)
