"""The jobs of the corpus: one small TOML file each in jobs/, as data.

about            what it is, for the table
apt, pip         what to install; pip into a virtual environment of the job's own, "{venv}"
setup            shell script run once, as the user, in "{home}": what an installation below home needs
node_home        shell script run in a copy of "{home}" after bundling: the node has what it leaves there, at the same
                 path (a newer release, half of the software, nothing at all). Without it the node lacks "{home}"
node_work        the same for the working directory, which nodes always share: what somebody installs there later
build            commands run in the working directory, "{work}", before anything is traced
run, compare     the command that is traced, and the files whose bytes must be the same elsewhere; output always is
second, second_compare, second_env
                 another command for the same bundle, with inputs and options that the trace has not seen
ignore           regular expressions: lines of text that differ from one run to the next
env, files       variables, and the files of the working directory
timeout          seconds for one run (300)
ci               true: part of what `make test` runs
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from foreign.jobs import Job
from foreign.roots import CACHE, USER, cached

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jobs")
KEYS = {
    *("about", "apt", "pip", "setup", "build", "run", "compare", "ignore", "env", "files", "timeout", "ci"),
    *("second", "second_compare", "second_env", "node_home", "node_work"),
}


@dataclass(frozen=True)
class Spec:
    """One job: the traced command (`first`) and the one that was not traced (`second`), which share all else."""

    name: str
    about: str
    apt: tuple[str, ...]
    pip: tuple[str, ...]
    first: Job
    second: Job
    second_env: dict[str, str]
    node_home: str
    node_work: str
    ignore: tuple[str, ...]
    timeout: float
    ci: bool

    def comparable(self, text: bytes) -> bytes:
        """Return output without the lines that differ from run to run."""
        return without(text, self.ignore)


def without(text: bytes, ignore: tuple[str, ...]) -> bytes:
    """Return text without the lines that match one of the patterns; what is no text is left whole."""
    if not ignore or b"\0" in text:
        return text
    pattern = re.compile("|".join(ignore).encode())
    return b"".join(line for line in text.splitlines(keepends=True) if not pattern.search(line))


def names() -> list[str]:
    """Return the names of all jobs."""
    return sorted(name.removesuffix(".toml") for name in os.listdir(JOBS) if name.endswith(".toml"))


def load(name: str) -> Spec:
    """Read a job's file. Raises ValueError for a key that it cannot have."""
    with open(os.path.join(JOBS, f"{name}.toml"), "rb") as file:
        raw = tomllib.load(file)
    if unknown := set(raw) - KEYS:
        raise ValueError(f"{name}.toml has unknown keys: {', '.join(sorted(unknown))}")
    return _spec(name, raw)


def _spec(name: str, raw: dict[str, Any]) -> Spec:
    ignore, venv = tuple(raw.get("ignore", ())), os.path.join(CACHE, "corpus", name)
    words = partial(_words, venv=venv)
    setup = (("bash", "-c", f"cd {{home}}\n{raw['setup'].replace('{venv}', venv)}"),) if "setup" in raw else ()
    first = Job(
        name,
        words(raw["run"]),
        _outputs(raw.get("compare", ()), ignore),
        build=setup + tuple(("bash", "-c", line.replace("{venv}", venv)) for line in raw.get("build", ())),
        env={"HOME": "{home}", **raw.get("env", {})},
        setup=partial(make_venv, venv, tuple(raw.get("pip", ()))),
        files={"input": "", **raw.get("files", {})},
    )
    second_env = raw.get("second_env", {})
    second = replace(
        first,
        command=words(raw["second"]),
        outputs=_outputs(raw.get("second_compare", ()), ignore),
        env={**first.env, **second_env},
    )
    return Spec(
        name,
        raw["about"],
        tuple(raw.get("apt", ())),
        tuple(raw.get("pip", ())),
        first,
        second,
        second_env,
        raw.get("node_home", "").replace("{venv}", venv),
        raw.get("node_work", "").replace("{venv}", venv),
        ignore,
        raw.get("timeout", 300),
        raw.get("ci", False),
    )


def _words(command: str, venv: str) -> tuple[str, ...]:
    return tuple(shlex.split(command.replace("{venv}", venv)))


def _outputs(compare: list[str], ignore: tuple[str, ...]) -> dict[str, Callable[[bytes], bytes]]:
    return {name: partial(without, ignore=ignore) for name in compare}


def make_venv(path: str, requirements: tuple[str, ...]) -> None:
    """Make a job's virtual environment with the system's Python, once, owned by the user."""
    if not requirements:
        return
    with cached(os.path.relpath(path, CACHE), f"1 {sys.platform}\n{requirements}") as building:
        if building:
            subprocess.run(["/usr/bin/python3", "-m", "venv", building], check=True)
            pip = [f"{building}/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
            if done.returncode:
                raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            subprocess.run(["chown", "-R", f"{USER}:{USER}", building], check=True)


def missing_packages(specs: list[Spec]) -> list[str]:
    """Return the Debian packages that jobs need and this machine lacks."""
    wanted = sorted({package for spec in specs for package in spec.apt})
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted]
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    missing = set(wanted) - {line.split()[0] for line in listed if line.endswith(" installed")}
    # a program of that name may have come another way (NodeSource's nodejs has npm in it and conflicts with Debian's)
    return sorted(package for package in missing if not shutil.which(package))


def install(specs: list[Spec]) -> None:
    """Install what is missing. Raises subprocess.CalledProcessError."""
    missing = missing_packages(specs)
    if missing:
        print(f"installing: {' '.join(missing)}", file=sys.stderr)
        # RUNLEVEL=1: packages start no services on this machine
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        command = ["apt-get", "-o", "DPkg::Lock::Timeout=600", "install", "-y", "-q", "--no-install-recommends"]
        subprocess.run([*command, *missing], check=True, env=env, stdout=subprocess.DEVNULL)
