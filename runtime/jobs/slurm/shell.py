"""The shell text of Slurm scripts. It runs in bash, dash and ksh, on nodes that may have little else.

Nothing of sdee's stays on a node. A copy of the bundle that was broadcast loses its name as soon as all tasks of its
node have it open: from then on the kernel drops it with the last of them, after kill -9 as well. Rejected: removing it
at the job's end, because after scancel no step can be started to do it, and a killed job does nothing at all; srun's
--bcast, which leaves the file. What remains is the moment between sbcast and the tasks' start; a copy that a job killed
there left is removed by the user's next broadcast job on the node, and by a reboot, since it lies in memory.

Other users of the node can write to /dev/shm and /tmp, too. Nobody can make the copy first: its name is random, and
without --force slurmd opens it with O_EXCL. A task runs it when it is open, the user's and nobody else's to write. Its
marks are directories: mkdir(2) follows no link and waits for no FIFO.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.options import names

if TYPE_CHECKING:
    from collections.abc import Sequence

# srun(1): options of which the value may be in the next word
SRUN_SHORT = "AbcCdDeFGiJLmMnNopqrStTwWxB"
SRUN_FLAGS = "EHOQXZlsuv"  # without a value, and so before another letter
SRUN_LONG = names("""
    accel-bind account acctg-freq bb bbf bcast-exclude begin chdir cluster-constraint clusters comment
    constraint container container-id core-spec cores-per-socket cpu-bind cpu-freq cpus-per-gpu cpus-per-task
    deadline delay-boot dependency distribution epilog error exclude export export-file extra extra-node-info
    gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags het-group hint input
    job-name jobid licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus mpi
    msg-timeout network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
    ntasks-per-socket open-mode output partition power prefer priority profile prolog qos relative reservation
    segment signal slurmd-debug sockets-per-node switches task-epilog task-prolog thread-spec threads
    threads-per-core time time-min tmp tres-bind tres-per-task tree-width uid wait wckey
""")
_PATTERN = {"j": '"$SLURM_JOB_ID"', "A": '"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"', "a": '"${SLURM_ARRAY_TASK_ID-}"'}

# Bytes that all nodes together would read from shared storage, from which on the bundle is broadcast. sbcast sends
# along a tree; a shared file is read by each node. Measured on a cluster in namespaces of one machine: 100 MB to two
# nodes take sbcast 0.7 to 0.95 s and a plain copy less, which says nothing of a real network and of storage that
# thousands of nodes ask at once. So this is reckoned: storage that gives 10 GB/s needs a second for these.
BROADCAST_BYTES = 10_000_000_000

COPY_NAME = f'"sdee-bundle-{"[0-9a-f]" * 32}"'  # a glob of nothing but what sdee_broadcast makes


def settings(bundle: str, broadcast: str, results: str) -> str:
    """Return the lines that say what runs. `results` may have %j, %A and %a, as sbatch's file names."""
    where = scripts.expand(results, _PATTERN)
    lines = [
        f"sdee_bundle={shlex.quote(bundle)}",
        f"sdee_when={broadcast}  # the bundle is broadcast: auto, always, never",
    ]
    lines.append(f"sdee_results={where}")
    if results and "%a" not in results:
        lines.append("sdee_results=$sdee_results${SLURM_ARRAY_TASK_ID:+/$SLURM_ARRAY_TASK_ID}")
    if results:
        lines.append('mkdir -p "$sdee_results" || exit 247')
    return "\n".join([*lines, scripts.THERE])


STEP = r"""
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
  echo "sdee: $SLURMD_NODENAME: $copy cannot be executed, or is not yours alone; $bundle is" >&2
  rm -f "$copy" 2>/dev/null
fi
if [ -n "$results" ]; then
  SDEE_SAVE=$results/$SLURMD_NODENAME # one for all ranks of a node: they share what they write
  export SDEE_SAVE
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
  echo "sdee: the bundle cannot be sent to the nodes: they read $sdee_bundle" >&2
  sdee_copy=
}

# One process on each node of the job
sdee_everywhere() {
  command srun --quiet --overlap --mem=0 -N "$SLURM_JOB_NUM_NODES" -n "$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "$@"
}
""".replace("@BYTES@", str(BROADCAST_BYTES)).replace("@NAME@", COPY_NAME)


def step(served: str = "") -> str:
    """Return what a script needs to start tasks. `served`: words before the bundle, as sh has them."""
    return STEP.replace("@SERVED@", served.replace("'", "'\\''"))


def task_call(here: str = "", *, copy: str = "$sdee_copy") -> str:
    """Return the words that start the bundle, or a copy of it, in the directory `here` ("": the recorded one)."""
    return f'/bin/sh -c "$sdee_task" sdee "$sdee_bundle" "{copy}" "$sdee_results" "{here}"'


# sbatch's --cpus-per-task is srun's no more since Slurm 22.05; sbatch(1) says to do so
CPUS = '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'


def srun_values() -> str:
    """Return srun's options with a value in the next word, as a pattern of sh's `case`."""
    joined = f"-[{SRUN_FLAGS}][{SRUN_SHORT}]|-[{SRUN_FLAGS}][{SRUN_FLAGS}][{SRUN_SHORT}]"  # -ln 2
    return "|".join([joined, *(f"-{letter}" for letter in SRUN_SHORT), *(f"--{n}" for n in SRUN_LONG)])


def finish(patterns: Sequence[str]) -> str:
    """Return the function `sdee_finish`, which brings results of all nodes back."""
    return scripts.finish("sdee_everywhere", '"$sdee_results/"', patterns)


# The function stands for the program, also in `srun … &`, in pipelines and in loops. It is a subshell that becomes
# srun, so that $! is srun's.
WRAPPED_STEP = r"""
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
  sdee_env=$(sdee_changed)$SDEE_ENV
  [ -z "$sdee_env" ] || { SDEE_ENV=$sdee_env; export SDEE_ENV; }
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
"""

REHEARSED = "SLURM_PROCID=0"
# For the trace: srun's options are passed over, its command runs here, once
REHEARSED_STEP = r"""
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
""".replace("@STEP@", f"{REHEARSED} SLURM_LOCALID=0 SLURM_NODEID=0")
# Not SLURM_STEP_ID: with it Open MPI takes itself for a rank of a real srun, looks for its PMI and gives up
# @SETTINGS@: variables of a job of one task
REHEARSAL = f"export @SETTINGS@{REHEARSED_STEP.replace('@PASS@', '')}"
