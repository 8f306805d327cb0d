"""Shell text that sdee writes: no name of a script, program, job or path is ever a command in it."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.gridengine.manager import GridEngine
from sdee.runtime.jobs.model import Batch, Request, Wrapping
from sdee.runtime.jobs.options import Table
from sdee.runtime.jobs.slurm import resubmit
from sdee.runtime.jobs.slurm.inside import SlurmInside
from sdee.runtime.jobs.slurm.manager import Slurm

if TYPE_CHECKING:
    from pathlib import Path

# Each would make a file named trap
NAMES = (
    "$(touch trap)", "`touch trap`", "a\ntouch trap\n", '";touch trap;"', "';touch trap;'", "a'\ntouch trap\n'b",
    "${x:-$(touch trap)}", "a\r\ntouch trap", "\\$(touch trap)", "a$(touch trap)@OUTSIDE@", "@VALUES@;touch trap",
    '"@QUOTED@"$(touch trap)', "a\nSDEE\ntouch trap\n", "a|touch trap", "a&touch trap&", ">trap",
    "x\033[31m$(touch trap)",
)  # fmt: skip
MANAGERS = (Slurm(), GridEngine())
TABLE = Table(frozenset(("account", "wrap")), frozenset(("wait",)), {"A": "account"})
TOOLS = {
    "srun": "#!/bin/sh\nexit 0\n",
    "sbatch": "#!/bin/sh\nfor word; do case $word in */submitted-*.sh) script=$word ;; esac; done\n"
    'echo "$script" >"$SUBMITTED"\ncat "$script" >"$SUBMITTED.text"\n',
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with commands of a job manager that start nothing."""
    (tmp_path / "bin").mkdir()
    for name, text in TOOLS.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    return tmp_path


def run(here: Path, text: str, *arguments: str, shell: str = "sh") -> subprocess.CompletedProcess[bytes]:
    """Run shell text; whatever is in it as a command shows as the file trap."""
    variables = {"PATH": f"{here}/bin:/usr/bin:/bin", "SUBMITTED": f"{here}/submitted", "SLURM_JOB_NUM_NODES": "1"}
    done = subprocess.run(
        [shell, "-c", text, "sh", *arguments], cwd=here / "work", env=variables, capture_output=True, check=False
    )
    assert not any((here / place / "trap").exists() for place in ("work", "work/sub", "")), text
    return done


def test_the_traps_are_traps(here: Path) -> None:
    run(here, "true")
    for name in ("$(touch trap)", '";touch trap;"'):
        with pytest.raises(AssertionError):
            run(here, f'export A="{name}"')
        (here / "work/trap").unlink()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.title)
def test_a_submitted_programs_name_is_no_command(here: Path, manager: Slurm | GridEngine, name: str) -> None:
    bundle = here / "work" / name.replace("/", "") / "b.sdee"
    bundle.parent.mkdir()
    bundle.write_text("#!/bin/sh\n")
    bundle.chmod(0o755)
    options = ("-J", name) if manager.title == "Slurm" else ("-N", name)
    for given in ((), options):
        for command in ((), (f"./{name}", name)):
            request = Request(
                f"{bundle.parent}/job.sh", str(bundle), command, (f"./{name}", name), given, "never",
                results=f"{here}/r-{name}", collect=(f"/tmp/{name}",),
            )  # fmt: skip
            text = manager.submission(request).text
            for shell in ("bash", "dash"):
                run(here, text, shell=shell)
            lines = text.split("\n")
            first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
            assert all(line.isprintable() for line in lines[:first])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.title)
def test_a_wrapped_scripts_name_is_no_command(here: Path, manager: Slurm | GridEngine, name: str) -> None:
    named = f'#SBATCH --job-name="{name}"\n' if "\n" not in name else ""
    for head in ("", named):
        wrapping = Wrapping(
            name, f"#!/bin/bash\n{head}srun true\n", f"/no/{name}/b.sdee", ("true",), (), (), "never", f"{here}/{name}"
        )
        steps = here / "work" / f"{name}steps.sh".replace("/", "")
        steps.write_text(manager.rehearsal(wrapping))
        run(here, scripts.reading(wrapping.text, str(steps)), shell="bash")
        run(here, manager.wrap(wrapping), shell="bash")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_job_submits_is_no_command(here: Path, name: str) -> None:
    """A job's sbatch writes a script itself: of a script's name, a bundle's, a directory's."""
    outside = here / "work" / f"out{name}".replace("/", "")
    outside.mkdir()
    script = here / "work" / f"s{name}"
    script.write_text("#!/bin/sh\necho submitted\n")
    bundle = outside / "b.sdee"
    bundle.write_text('#!/bin/sh\necho "ran $SDEE_COMMAND"\n')
    bundle.chmod(0o755)
    front = outside / "front"
    front.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    front.chmod(0o755)
    served = (str(front), "serve", str(outside))
    text = resubmit.program({str(here / name): str(outside / name)}, TABLE, str(bundle), served)
    for words in ((f"./s{name}",), ("--account", name, f"./s{name}", name), ("--wrap", "true")):
        done = run(here, text, *words)
        assert done.returncode == 0, done.stderr
        assert b"\033" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
        made = (here / "submitted").read_bytes().decode().removesuffix("\n")
        assert made.startswith(str(outside)), "one of ours is submitted"
        ran = run(here, (here / "submitted.text").read_bytes().decode())
        assert ran.stdout.decode() == f"ran {made.removesuffix('.sh')}\n", ran.stderr
        assert stat.S_IMODE(os.stat(made.removesuffix(".sh")).st_mode) == 0o700


@pytest.mark.parametrize("name", NAMES)
def test_a_job_of_an_environment_is_no_command(here: Path, name: str) -> None:
    job = Batch((), name, "#!/bin/sh\ntrue\n", (name,), ())
    served = (f"/no/{name}/front", "serve", f"/no/{name}")
    run(here, SlurmInside().batch_program(job, f"/no/{name}", f"/no/{name}/b.sdee", served))
    run(here, SlurmInside().step_program(f"/no/{name}/b.sdee", (), served), "true")
    run(here, SlurmInside().rehearsal_program(f"/no/{name}", f"{here}/{name}"), "sbatch", name)
