"""Jobs from inside of a private environment, by Slurm's own commands, on nodes of other distributions.

Packages come from a repository of a few real ones on the shared storage: the cluster's login side has no other network.
"""

from __future__ import annotations

import glob
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from cluster.jobs import SDEE, Evening, in_memory, place, wait_for
from env_support import MANUALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.driver import Cluster

pytestmark = pytest.mark.cluster

# A compiler that no node has, and a library that it builds against
PACKAGES = ("hello", "tcc", "libtcc-dev", "libgsl27", "libgslcblas0", "libgsl-dev")
BESSEL = """#include <gsl/gsl_sf_bessel.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    const char *rank = getenv("SLURM_PROCID"), *node = getenv("SLURMD_NODENAME");
    printf("J0(5) = %.15f, rank %s on %s as %d\\n", gsl_sf_bessel_J0(5.0), rank ? rank : "-", node ? node : "-",
           (int)getuid());
    return 0;
}
"""


@pytest.fixture(scope="module")
def repository(cluster: Cluster) -> str:
    """Make a repository of Debian packages on the shared storage; give its directory."""
    directory = place(cluster, "debs").path
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=directory, check=True, stderr=subprocess.DEVNULL)
    with open(f"{directory}/Packages", "w", encoding="utf-8") as file:
        subprocess.run(
            ["dpkg-scanpackages", "-m", "."], cwd=directory, check=True, stdout=file, stderr=subprocess.DEVNULL
        )
    return directory


def begin(cluster: Cluster, repository: str, name: str, *options: str) -> Evening:
    """Create an environment whose packages come from the repository."""
    evening = Evening(place(cluster, name), in_memory(cluster, f"{name}-states"))
    done = evening.sdee("env", "create", "mine", *options)
    assert done.returncode == 0, done.stderr
    line = f"deb [trusted=yes] file:{repository} ./"
    evening.out(f"{MANUALS}; rm -f /etc/apt/sources.list.d/*; echo '{line}' >/etc/apt/sources.list; apt-get update -qq")
    return evening


@pytest.fixture(scope="module")
def evening(cluster: Cluster, repository: str) -> Iterator[Evening]:
    """Give an environment with `hello`, of emulated ids."""
    made = begin(cluster, repository, "evening", "--emulate")
    try:
        made.out("apt-get install -qq -y hello >/dev/null 2>&1; hello")
        yield made
    finally:
        made.sdee("env", "remove", "--force", "mine")


def of_environments(cluster: Cluster) -> set[str]:
    """The processes and mounts of environments seen on the login side; those of killed tests are among them."""
    done = cluster.run(["sh", "-c", "ps -eo args; cat /proc/self/mountinfo"], user="root")
    assert done.returncode == 0, done.stderr
    return {line for line in done.stdout.splitlines() if "sdee-env" in line or "/environments/" in line}


def test_an_evening_of_a_newcomer(cluster: Cluster, repository: str) -> None:
    """Empty → create → compiler and library by apt → a program of one's own → two nodes → clean."""
    before = of_environments(cluster)
    evening = begin(cluster, repository, "newcomer")
    assert evening.inside("command -v tcc").returncode == 1
    evening.out("apt-get install -qq -y tcc libgsl-dev >/dev/null 2>&1; command -v tcc")
    evening.place.file("bessel.c", BESSEL)
    here = evening.out("tcc -o bessel bessel.c -lgsl -lgslcblas -lm && ./bessel")
    assert here == "J0(5) = -0.177596771314338, rank - on - as 0\n"

    done = evening.inside("srun -N2 -n2 -w n1,n2 ./bessel")
    assert done.returncode == 0, done.stderr
    said = "J0(5) = -0.177596771314338, rank {} on {} as 1001"
    assert sorted(done.stdout.splitlines()) == [said.format(0, "n1"), said.format(1, "n2")]
    assert done.stderr.count("\n") == 1, done.stderr
    assert "sdee: srun: ./bessel: trial run here first" in done.stderr
    again = evening.inside("srun -N2 -n2 -w n1,n2 ./bessel")
    assert (again.returncode, sorted(again.stdout.splitlines())) == (0, sorted(done.stdout.splitlines()))
    assert again.stderr == "", "the first time only"

    # the same step without sdee: the nodes lack the library
    bare = evening.inside("srun -N1 -n1 -w n2 ./bessel", SDEE_TRANSPARENT="0")
    assert bare.returncode != 0
    assert "libgsl" in bare.stderr or "GLIBC" in bare.stderr, bare.stderr

    # tester has a range of ids: real ones are used here, emulated ones in the tests below
    evening.out("sbatch -Q --wait -N2 -n2 -w n1,n2 -o batch.out --wrap './bessel; srun ./bessel'")
    lines = sorted(evening.place.read("batch.out").splitlines())
    assert lines == sorted([said.format(0, "n1"), said.format(0, "n1"), said.format(1, "n2")]), lines

    assert evening.sdee("env", "remove", "mine").returncode == 0
    left = cluster.run(["ls", "-A", evening.states])
    assert (left.returncode, left.stdout) == (0, "")
    assert of_environments(cluster) == before


JOB = """#!/bin/bash
#SBATCH --nodes=2 --ntasks=3
#SBATCH -w n1,n2
echo "script on $SLURMD_NODENAME as $(id -un) with $# arguments"
hello -g "in the script"
env | grep '^C[.]D'
srun -l hello -g step | sort
timeout 60 srun -n1 -N1 hello -g past-the-shell
/usr/bin/srun -n2 -N2 -w n1,n2 sh -c 'echo "rank $SLURM_PROCID on $SLURMD_NODENAME"' | sort
export GREETING=changed PATH=/nosuch:$PATH
srun -n1 -N1 sh -c 'echo "$GREETING ${PATH%%:*}"'
work() { seq -s- "$1"; }
export -f work
env A.B=dotted srun -n1 -N1 bash -c 'work 3; env | grep "^A[.]B"'
srun -n2 -N2 bash -c 'echo $(squeue -h -j $SLURM_JOB_ID -o %T) $(srun --overlap -n1 -N1 -w $SLURMD_NODENAME uname -n)' |
  sort
scontrol show hostnames | xargs
echo from-stdin | srun -n1 -N1 cat
srun -n1 -N1 sh -c 'exit 7'
echo "status $?"
srun -n1 -N1 nosuch-program
echo "status $?"
exit 3
"""


def test_a_batch_script_of_the_bare_cluster_runs_unchanged(evening: Evening) -> None:
    evening.place.file("job.sh", JOB)
    done = evening.inside("env C.D=given sbatch --wait -o job.out job.sh one 'two three'")
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(r"Submitted batch job \d+\n", done.stdout)
    out = [
        line
        for line in evening.place.read("job.out").splitlines()
        if not re.match("srun: error|slurmstepd|sdee|  ", line)
    ]
    assert out == [
        "script on n1 as tester with 2 arguments",
        "in the script",
        "C.D=given",
        "0: step",
        "1: step",
        "2: step",
        "past-the-shell",
        "rank 0 on n1",
        "rank 1 on n2",
        "changed /nosuch",
        "1-2-3",
        "A.B=dotted",
        "RUNNING n1",
        "RUNNING n2",
        "n1 n2",
        "from-stdin",
        "status 7",
        "status 127",
    ]
    assert "127" in evening.place.read("job.out")


def test_scripts_come_by_wrap_by_standard_input_and_in_any_language(evening: Evening) -> None:
    evening.out("sbatch -Q --wait -o wrapped.out -J other --wrap 'hello -g wrapped; echo $SLURM_JOB_NAME'")
    assert evening.place.read("wrapped.out") == "wrapped\nother\n"
    text = '#!/bin/sh\n#SBATCH -N1 -o array-%a.out\nhello -g "task $SLURM_ARRAY_TASK_ID of $SLURM_JOB_NAME"\n'
    evening.place.file("array.txt", text)
    evening.out("sbatch -Q --wait --array=1-2 <array.txt")
    assert [evening.place.read(f"array-{n}.out") for n in (1, 2)] == ["task 1 of sbatch\n", "task 2 of sbatch\n"]
    text = '#!/usr/bin/perl\n#SBATCH -N2 -n2 -o perl.out\n$| = 1; print "perl\\n";\n'
    text += "exit system('srun hello -g step') >> 8;\n"
    evening.place.file("job.pl", text)
    evening.out("sbatch -Q --wait job.pl")
    assert evening.place.read("perl.out") == "perl\nstep\nstep\n"


CHAIN = """#!/bin/bash
#SBATCH -N1 -Q --open-mode=append -o chain.out
hello -g "link ${1:-1}"
if [ "${1:-1}" -lt 3 ]; then sbatch -Q chain.sh $((${1:-1} + 1)); fi
"""


def test_a_job_that_submits_its_own_script_anew_stays_in_its_bundle(evening: Evening) -> None:
    evening.place.file("chain.sh", CHAIN)
    evening.out("sbatch -Q --wait chain.sh")
    links = ["link 1", "link 2", "link 3"]
    wait_for(lambda: evening.place.read("chain.out").splitlines() == links, lambda: evening.place.read("chain.out"))


FIRST = """#!/bin/bash
#SBATCH -N1 -Q -o first.out
hello -g first
sbatch -N 2>/dev/null || :
for name in one two; do sbatch -Q --wait second.sh $name; done
cp second.sh made.sh
sbatch -Q --wait made.sh made
rm made.sh
"""
SECOND = """#!/bin/sh
#SBATCH -N1 --open-mode=append -o second.out
hello -g "second $1" || echo "bare $1"
"""


def test_jobs_that_a_job_submits_run_in_bundles_too(evening: Evening) -> None:
    evening.place.file("first.sh", FIRST)
    evening.place.file("second.sh", SECOND)
    done = evening.inside("sbatch -Q --wait first.sh")
    assert done.returncode == 0
    assert re.findall(r"sdee: sbatch: (\S+): trial run here first", done.stderr) == ["first.sh", "second.sh", "made.sh"]
    assert "new since the trial run" not in evening.place.read("first.out")
    names = [line for line in evening.place.read("second.out").splitlines() if "hello" not in line]
    assert names == ["second one", "second two", "second made"]
    assert evening.inside("sbatch -Q --wait first.sh").stderr == "", "all of them are there"


MANAGER = r"""#!/bin/bash
#SBATCH -N1 -Q -o manager.out
printf '#!/bin/bash\n#SBATCH -N1 --open-mode=append\n#SBATCH -o task.out\n' >"task $SLURM_JOB_ID.sh"
echo 'ends=only; task-$ends "$1" $SLURM_JOB_NAME' >>"task $SLURM_JOB_ID.sh"
cp "task $SLURM_JOB_ID.sh" task-$SLURM_JOB_ID.sh
sbatch -Q --wait "task $SLURM_JOB_ID.sh" file
sbatch -Q --wait -J named -- task-$SLURM_JOB_ID.sh "a  b"
sbatch -Q --wait --open-mode append -o task.out --wrap 'end=only; task-$end "$SLURM_JOB_NAME" | cut -c1-20; exit 3'
echo "status $?"
sbatch -Q --wait <task-$SLURM_JOB_ID.sh
sbatch -Q nosuch.sh 2>&1 | tail -1
sbatch --version
rm task*$SLURM_JOB_ID.sh
"""


def test_what_a_job_makes_and_submits_runs_in_its_own_bundle(evening: Evening) -> None:
    """As a workflow manager does: nobody could know these scripts before. Bare, they would find no `hello`."""
    evening.out(
        "cd /usr/local/bin; echo 'echo task \"$@\"' >task-only; sed -i '1i #!/bin/sh' task-only; chmod +x task-only"
    )
    evening.place.file("manager.sh", MANAGER)
    done = evening.inside("sbatch -Q --wait manager.sh")
    assert done.returncode == 0, done.stderr
    assert (
        "the job submits scripts that it makes itself; bundling all changes of the environment instead" in done.stderr
    )
    said = evening.place.read("manager.out").splitlines()
    assert sum("new since the trial run of this job, runs in the bundle of this job" in line for line in said) == 4
    tasks = re.sub(r"\d+", "N", evening.place.read("task.out")).splitlines()
    assert tasks == ["task file task N.sh", "task a  b named", "task wrap", "task  sbatch"], (said, tasks)
    assert "status 3" in said
    assert any("nosuch.sh" in line and "sdee" not in line for line in said), said
    assert any(line.startswith("slurm") for line in said), said


def test_sdee_submit_inside_bundles_once(evening: Evening) -> None:
    done = evening.inside(f"{' '.join(SDEE)} submit -N2 -n2 --wait -o submit.out -- hello -g submitted")
    assert done.returncode == 0, done.stderr
    assert evening.place.read("submit.out") == "submitted\nsubmitted\n"
    kept = [name for name in os.listdir(f"{evening.place.path}/sdee-jobs") if name.startswith(("hello", "job-"))]
    assert len([name for name in kept if name.startswith("job-")]) == 0, kept
    assert "sdee: sbatch:" not in done.stderr


def test_steps_of_an_allocation_run_in_bundles_and_its_shell_is_root_inside(evening: Evening) -> None:
    done = evening.inside("salloc -Q -N2 bash -c 'id -un; srun hello -g step; exit 4'")
    assert (done.returncode, done.stdout) == (4, "root\nstep\nstep\n"), done.stderr
    evening.place.cluster.run(["squeue", "-h"])
    wait_for(lambda: evening.place.cluster.run(["squeue", "-h", "-n", "bash"]).stdout == "", "the allocation is kept")
    refused = evening.inside("salloc -N2 -p nosuch true")
    assert refused.returncode == 1
    assert "invalid partition" in refused.stderr


def test_slurms_other_commands_know_who_asks(evening: Evening) -> None:
    # more nodes than there are: held, it is taken nevertheless, and --test-only refuses it
    job = evening.out("sbatch --parsable -H -N50 -J held --wrap 'hello'").strip()
    assert evening.out(f"squeue -h --me -o '%i %u %j' -j {job}") == f"{job} tester held\n"
    evening.out(f"scancel {job}")
    wait_for(lambda: evening.place.cluster.run(["squeue", "-h", "-j", job]).stdout == "", "it is not cancelled")


def test_what_slurm_refuses_is_refused_with_its_words(evening: Evening) -> None:
    evening.place.file("refused.sh", "#!/bin/sh\n#SBATCH -C nosuch\ntouch ran\n")
    commands = (
        "sbatch --nosuch refused.sh",
        "sbatch refused.sh",
        "sbatch <refused.sh",
        "sbatch -p nosuch --wrap 'touch ran'",
    )
    for command in (*commands, "srun --nosuch touch ran", "srun -p nosuch touch ran", "srun --mpi=nosuch touch ran"):
        bare, done = (evening.inside(command, SDEE_TRANSPARENT=value) for value in ("0", "1"))
        assert done.returncode == bare.returncode != 0, (command, done.stderr)
        assert done.stderr == bare.stderr, command
    assert not os.path.exists(evening.place.file("ran")), "it was to run here first"
    missing = evening.inside("sbatch nosuch.sh")
    assert missing.returncode == 246
    assert "cannot read the batch script 'nosuch.sh'" in missing.stderr


def test_a_rehearsal_that_takes_too_long_is_ended_and_all_changes_travel(evening: Evening) -> None:
    evening.place.file(
        "long.sh", '#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9; do [ -n "$SLURMD_NODENAME" ]; sleep 1; done\nhello -g late\n'
    )
    # on a busy machine a tracer takes more than a second to begin
    done = evening.inside("sbatch -Q --wait -o long.out long.sh", SDEE_REHEARSAL_LIMIT="5")
    assert "sdee ended the trial run after 5 s; bundling all changes of the environment instead" in done.stderr
    assert evening.place.read("long.out").splitlines()[-1] == "late"


def test_a_rehearsal_that_is_ended_before_it_begins_says_so(evening: Evening) -> None:
    evening.place.file("soon.sh", "#!/bin/sh\nhello -g soon; sleep 9\n")
    done = evening.inside("sbatch -Q --wait -o soon.out soon.sh", SDEE_REHEARSAL_LIMIT="0")
    assert done.returncode != 0
    assert "after 0 s, before the tracer began" in done.stderr
    assert "give it more time: SDEE_REHEARSAL_LIMIT=60" in done.stderr


# The run here fails, so that all changes travel
SHARED = """#!/bin/sh
#SBATCH -Q --wait -N1 -o shared.out
[ "$SLURM_JOB_ID" != 0 ] || exit 3
hello -g "$1 of $(basename "$0")"
srun hello -g "a step of it"
"""


def test_jobs_with_all_changes_share_a_bundle_until_the_environment_changes(evening: Evening) -> None:
    def bundles() -> list[str]:
        return sorted(glob.glob(evening.place.file("sdee-jobs/all-changes-*/bundle-*.sdee")))

    def submitted(command: str, text: str) -> list[str]:
        evening.place.file(command.split(maxsplit=1)[0], text)
        done = evening.inside(f"sbatch {command}")
        assert "the trial run failed" in done.stderr, done.stderr
        return evening.place.read("shared.out").splitlines()

    assert submitted("shared.sh first", SHARED) == ["first of shared.sh", "a step of it"]
    known = bundles()
    edited = SHARED.replace("a step", "another step")
    assert submitted("shared.sh second", edited) == ["second of shared.sh", "another step of it"]
    assert bundles() == known, "scripts that differ run in one bundle"
    assert not glob.glob(evening.place.file("sdee-jobs/shared.sh-*/bundle-*.sdee"))

    # this one looks for programs in other places; what is made for it serves all
    assert evening.inside("srun -N1 --pty bash -c 'hello -g typed'").stdout.splitlines() == ["typed"]
    known = bundles()
    assert submitted("other.sh third", f"{SHARED}command -v bash\n")[-1].endswith("/bin/bash")
    assert bundles() == known

    evening.out("echo '# changed' >>/etc/hello.conf")
    assert submitted("other.sh fourth", f"{SHARED}cat /etc/hello.conf\n")[-1] == "# changed"
    assert len(bundles()) == len(known) + 1, "what travelled before is as it was"


SWEEP = """#!/bin/sh
#SBATCH -Q --wait -o sweep.out
[ "$SLURM_JOB_ID" != 0 ] || sleep 6
hello -g "case $1"
[ "$1" -lt 4 ] || sweep-tool
echo edition 1
"""


def test_of_a_sweep_some_run_here_first_and_the_others_take_all_changes_along(evening: Evening) -> None:
    evening.place.file("sweep.sh", SWEEP)
    evening.out("printf '#!/bin/sh\necho added later\n' >/usr/local/bin/unused; chmod +x /usr/local/bin/unused")

    def submitted(command: str) -> tuple[bool, list[str]]:
        done = evening.inside(f"sbatch {command}", SDEE_REHEARSAL_LIMIT="11")
        assert done.returncode == 0, done.stderr
        is_traced = "trial run here first" in done.stderr
        assert is_traced != ("sweep.sh: skipping the trial run: similar commands were traced already" in done.stderr)
        return is_traced, evening.place.read("sweep.out").splitlines()

    assert [submitted(f"sweep.sh {number}") for number in (1, 2, 3)] == [
        (True, ["case 1", "edition 1"]),
        (True, ["case 2", "edition 1"]),
        (False, ["case 3", "edition 1"]),
    ]
    evening.out("mv /usr/local/bin/unused /usr/local/bin/sweep-tool")
    evening.place.file("sweep.sh", SWEEP.replace("edition 1", "edition 2"))
    edited = ["case 10", "added later", "edition 2"]
    assert submitted("sweep.sh 10") == (False, edited), "the bundle is an older one, or the script is"
    evening.place.file("sweep.sh", SWEEP)
    assert submitted("sweep.sh 07") == (False, ["case 07", "added later", "edition 1"])
    assert len(glob.glob(evening.place.file("sdee-jobs/sweep.sh-*/bundle-*.sdee"))) == 2, "of the two that ran here"


def test_each_command_that_differs_in_more_than_numbers_runs_here_first(evening: Evening) -> None:
    for name in ("one1.sh", "one2.sh"):
        evening.place.file(name, "sleep 6\n")
    for command in ("sh one1.sh a1", "sh one1.sh a2", "sh one2.sh a1", "sh one1.sh b1"):
        assert "trial run here first" in evening.inside(f"srun -N1 {command}", SDEE_REHEARSAL_LIMIT="11").stderr
    done = evening.inside("srun -N1 sh one1.sh a3", SDEE_REHEARSAL_LIMIT="11")
    assert "skipping the trial run" in done.stderr
    wrapped = [
        evening.inside(f"sbatch --wrap 'sleep 6; ls {n}' -o /dev/null", SDEE_REHEARSAL_LIMIT="11") for n in "123"
    ]
    assert ["skipping the trial run" in done.stderr for done in wrapped] == [False, False, True]


WRITER = """#!/bin/sh
#SBATCH -N1 -Q -o writer.out
[ ! -e checkpoint ] || echo "goes on from $(cat checkpoint)"
hello -g begins
mkdir -p new/deep; echo "job $SLURM_JOB_ID" | tee checkpoint new/deep/file ~/at-home >/dev/null
rm -r precious; mv old.txt older.txt; echo more >>log
"""


def test_what_the_run_here_writes_and_removes_is_not_the_jobs_to_meet(evening: Evening) -> None:
    place = evening.place
    place.file("writer.sh", WRITER)
    evening.out("mkdir precious; echo data >precious/file; echo old >old.txt; echo first >log")
    held = evening.inside("sbatch --hold --parsable writer.sh; ls; cat precious/file old.txt log; ls ~/at-home")
    job, *rest = held.stdout.splitlines()
    assert rest[-3:] == ["data", "old", "first"], held.stderr
    assert not {"checkpoint", "new", "older.txt"} & set(rest)
    assert "at-home" not in held.stdout
    assert "files that the trial run wrote" not in held.stderr
    evening.out(f"scontrol release {job}; while squeue -h -j {job} 2>/dev/null | grep -q .; do sleep 0.2; done")
    assert place.read("writer.out") == "begins\n", "it met no checkpoint of the run here"
    assert place.read("checkpoint") == place.read("new/deep/file") == f"job {job}\n"
    assert evening.out("cat log older.txt ~/at-home; ls precious 2>&1 || :").splitlines()[:4] == [
        "first",
        "more",
        "old",
        f"job {job}",
    ]


SIGNALLED = """#!/bin/bash
#SBATCH -N1 -o signal.out
srun sh -c 'trap "echo caught; exit 5" TERM; echo ready; [ "$SLURM_JOB_ID" = 0 ] || while :; do sleep 0.2; done'
echo "status $?"
sleep 1
"""


def test_signals_reach_what_the_script_started_outside_of_the_bundle(evening: Evening) -> None:
    evening.place.file("signal.sh", SIGNALLED)
    job = evening.out("sbatch --parsable signal.sh").strip()
    wait_for(lambda: "ready" in evening.place.read("signal.out"), "it does not start")
    evening.out(f"scancel -s TERM {job}.0")
    wait_for(lambda: "status 5" in evening.place.read("signal.out"), "it is not signalled")
    assert "caught" in evening.place.read("signal.out")
    evening.place.file("limit.sh", '#!/bin/sh\n#SBATCH -N1 -o limit.out\ntimeout 1 srun sleep 50\necho "status $?"\n')
    evening.out("sbatch -Q --wait limit.sh")
    assert "status 124" in evening.place.read("limit.out")


def test_nothing_of_the_server_is_left_on_the_node(evening: Evening) -> None:
    evening.out("sbatch -Q --wait -w n1 -N1 -o left.out --wrap 'srun -n1 sleep 0.1; hello'")
    look = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; done"
    found = evening.place.cluster.on_node("n1", ["sh", "-c", look]).stdout
    assert "sdee-front" not in found


def test_a_trace_inside_sees_what_the_supervisor_is_asked_about(evening: Evening) -> None:
    evening.place.file("look.py", "import os\nos.stat('/etc/shells')\nos.path.exists('/etc/nosuch-1')\n")
    evening.out(f"{' '.join(SDEE)} trace -q -o seen.trace -- python3 -S look.py")
    seen = evening.place.read("seen.trace")
    assert '"path":"/etc/shells","ops":["probe"]' in seen
    assert '"path":"/etc/nosuch-1","ops":["probe"]' in seen


def test_a_shell_on_a_node_has_all_that_was_changed_in_the_environment(evening: Evening) -> None:
    assert evening.out("echo 'hello -g typed' | srun -Q --pty -N1 sh") == "typed\n"
    evening.out("printf '#!/bin/sh\\necho new\\n' >/usr/local/bin/new-tool; chmod +x /usr/local/bin/new-tool")
    assert evening.out("echo new-tool | srun -Q --pty -N1 sh") == "new\n", "the bundle is an older one"


def test_a_step_is_named_as_srun_names_it(evening: Evening) -> None:
    asked = "squeue -h -o %j -j $SLURM_JOB_ID; squeue -h -s -o %j -j $SLURM_JOB_ID"
    evening.place.file("asks", f"#!/bin/sh\n{asked} | sort\n")
    evening.out("chmod +x asks")
    assert evening.out("srun -Q -N1 ./asks") == "asks\n" * 2
    assert evening.out("srun -Q -J mine -N1 -- ./asks") == "mine\n" * 2
    assert evening.out("srun -Q -N1 ./asks", SLURM_JOB_NAME="ours").splitlines()[0] == "ours"
    evening.out("sbatch -Q --wait -J whole -o asked.out --wrap 'srun ./asks'")
    assert evening.place.read("asked.out") == "whole\nasks\nbatch\n"


TYPED = """ls -d /usr/bin/env; echo a b | awk '{ print $2 }'; python3 -c 'import json; print(json.dumps([1]))'"""


def test_a_shell_on_a_node_has_what_one_types_of_the_host(evening: Evening) -> None:
    evening.place.file("typed", f"{TYPED}; ps -o comm= -p $$; echo more | less --no-init | cat\n")
    done = evening.inside("srun -Q --pty -w n2 -N1 bash <typed")
    assert done.stdout == "/usr/bin/env\nb\n[1]\nbash\nmore\n", done.stderr
    assert "__pycache__" not in done.stderr


def test_a_rehearsal_that_fails_is_said_and_all_changes_travel(evening: Evening) -> None:
    evening.place.file("two.sh", '#!/bin/sh\n#SBATCH -n2 -o two.out\n[ "$SLURM_NTASKS" = 2 ] || exit 9\nhello -g two\n')
    done = evening.inside("sbatch -Q --wait two.sh")
    assert "two.sh" in done.stderr
    assert "the trial run failed" in done.stderr
    assert evening.place.read("two.out").splitlines()[-1] == "two"


BRANCHES = """#!/bin/bash
#SBATCH -N1 -w n2 -Q -o branches.out
[ "$SLURM_JOB_ID" != 0 ] || exit 0
trap 'cp result kept; cksum kept; exit 0' USR1
seq 3 >result
kill -USR1 $$
"""


def test_a_script_finds_on_the_node_what_it_did_not_come_to_in_the_run_here(evening: Evening) -> None:
    evening.place.file("branches.sh", BRANCHES)
    evening.out("sbatch --wait branches.sh")
    assert evening.place.read("branches.out") == "846835361 6 kept\n"
    assert evening.place.read("kept") == "1\n2\n3\n"
    evening.out("sbatch --wait -Q -w n2 -o wrapped.out --wrap '[ $SLURM_JOB_ID = 0 ] || seq 2 | tac'")
    assert evening.place.read("wrapped.out") == "2\n1\n"


STEPS = """#!/bin/sh
#SBATCH -N2 -n2 -w n1,n2 -o steps.out
srun seq 100000 | head -n 1
srun sh -c '[ "$SLURM_NTASKS" = "$1" ] || exit 9; hello -g "of $SLURM_NTASKS"' - $1
echo end
"""


def test_a_step_that_fails_here_though_its_script_goes_on_is_said_and_all_changes_travel(evening: Evening) -> None:
    evening.place.file("steps.sh", STEPS)
    done = evening.inside("sbatch -Q --wait steps.sh 2")
    assert "sdee: sh ended with status 9 here (sdee-jobs/steps.sh-" in done.stderr, done.stderr
    assert evening.place.read("steps.out").splitlines()[1:] == ["of 2", "of 2", "end"]
    other = evening.inside("sbatch -Q --wait steps.sh 1")
    assert "ended with status" not in other.stderr, "a reader that has enough ends the first step"


LINKED = """#!/bin/sh
#SBATCH -N1 -w n2 -Q -o linked.out
[ "$SLURM_JOB_ID" != 0 ] || exit 3
/opt/tools/newest/tool
"""
TOOL = "#!/bin/sh\n[ -e /opt/tools/newest/empty ] && echo linked\n"


def test_with_all_changes_go_links_to_directories_and_empty_files(evening: Evening) -> None:
    evening.place.file("linked.sh", LINKED)
    evening.place.file("tool", TOOL)
    evening.out("mkdir -p /opt/tools/1.0; install tool /opt/tools/1.0")
    evening.out("ln -s 1.0 /opt/tools/newest; : >/opt/tools/1.0/empty; truncate -s 600M /opt/tools/1.0/large")
    done = evening.inside("sbatch --wait linked.sh; rm /opt/tools/1.0/large")
    assert evening.place.read("linked.out") == "linked\n", done.stderr
    assert re.search(r"sdee: bundling [\d,]+ files, \d+\.\d MB; this takes a while", done.stderr)
    done = evening.inside("sbatch --wait linked.sh")
    assert "this takes a while" not in done.stderr
    assert "the trial run failed" in done.stderr


def test_jobs_of_a_directory_that_the_nodes_do_not_see_run_from_the_users_home(evening: Evening) -> None:
    script = "mkdir -p /tmp/own; cd /tmp/own; srun -N1 hello -g alone; ls"
    done = evening.inside(script)
    assert (done.returncode, done.stdout) == (0, "alone\n")
    assert "'/tmp/own' belongs to the environment: the nodes do not see it" in done.stderr


def test_srun_asked_for_its_version_answers_in_a_rehearsal_too(evening: Evening) -> None:
    evening.out("sbatch -Q --wait -J asked -o asked.out --wrap 'echo $SLURM_JOB_NAME; srun --version'")
    log = max(glob.glob(evening.place.file("sdee-jobs/wrap-*/rehearsal.log")), key=os.path.getmtime)
    assert evening.place.read("asked.out") == evening.place.read(log)
    assert os.stat(log).st_mode & 0o777 == 0o600, "a command may print secrets"
    assert re.fullmatch("asked\nslurm-wlm .*\n", evening.place.read("asked.out"))


def test_a_rehearsal_ends_with_who_asked_for_it_and_an_interrupt_says_so(evening: Evening) -> None:
    step = "srun -N1 sh -c 'echo $$ >$own; exec sleep 50'"
    for number in ("INT", "TERM", "KILL"):
        done = evening.inside(
            f"export own=/tmp/pid-{number}; set -m; {step} & until [ -s $own ]; do sleep 0.1; done; kill -{number} %1;"
            " wait %1; echo $?; while kill -0 $(cat $own) 2>/dev/null; do sleep 0.1; done"
        )
        assert done.stdout == f"{128 + signal.Signals[f'SIG{number}']}\n"
        assert "Traceback" not in done.stderr
        assert ("interrupted, srun submitted nothing" in done.stderr) == (number == "INT")
