"""`sdee doctor`: test what this machine can do for tracing and executing, and name remedies."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass

import click

from sdee.base.errors import ExitCode, InternalError, SdeeError
from sdee.cli.output import print_json
from sdee.runtime.environment import sdee_env

_SYSCTLS = (
    # path, value that hinders, what it hinders
    ("/proc/sys/kernel/yama/ptrace_scope", ("2", "3"), "ptrace is for administrators only"),
    ("/proc/sys/user/max_user_namespaces", ("0",), "user namespaces are off"),
    ("/proc/sys/kernel/unprivileged_userns_clone", ("0",), "user namespaces are for root only"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", ("1",), "AppArmor restricts user namespaces"),
)


# As Ubuntu's own profiles of this kind (apparmor 4.0, profiles/apparmor.d/): it confines nothing, and allows them.
_APPARMOR = """\
# sdee: where AppArmor restricts user namespaces (Ubuntu 23.10 and later), bundles hand themselves over to
# /usr/bin/sdee-launcher, which this allows to make them. That file must be root's, and nobody else's to change.
#   sdee doctor --apparmor >/etc/apparmor.d/sdee-launcher
#   apparmor_parser -r /etc/apparmor.d/sdee-launcher
# docs/administrators.md of sdee says more.

abi <abi/4.0>,
include <tunables/global>

profile sdee-launcher /usr/bin/sdee-launcher flags=(unconfined) {
  userns,

  include if exists <local/sdee-launcher>
}
"""

_PARTS = {"trace": "Tracing", "execute": "Executing", "environment": "Private environments"}


@dataclass(frozen=True)
class Finding:
    """One line: `part` is "trace", "execute" or "environment", `remedy` is empty when nothing needs one."""

    part: str
    check: str
    ok: bool
    detail: str
    remedy: str


def tracing() -> list[Finding]:
    """Prove each engine on a small child, as `sdee trace --engine auto` does."""
    from sdee.tracer.engine.choose import ENGINES, load, prove  # noqa: PLC0415 - not needed for --help

    remedies = {
        "unotify": "use --engine ptrace; it needs Linux 5.5 and no other seccomp listener on this process",
        "ptrace": "use --engine unotify; it needs kernel.yama.ptrace_scope=1 or, in a container, CAP_SYS_PTRACE",
    }
    findings = []
    for name in ENGINES:
        why = prove(load(name))
        detail = "saw a child's system calls" if why is None else why
        findings.append(Finding("trace", f"engine {name}", why is None, detail, "" if why is None else remedies[name]))
    return [*findings, *_speed()]


def _speed() -> list[Finding]:
    """Say whether a seccomp filter slows down what a job computes: before Linux 5.16 those without a flag do."""
    from sdee.tracer.engine.linux import speculation  # noqa: PLC0415

    before, under = speculation()
    if not under:
        return []  # a kernel or processor that says nothing of it, or takes no filter: the engines' lines tell
    if before == under:
        return [Finding("trace", "speculation", ok=True, detail=f"a filter changes nothing: {under}", remedy="")]
    remedy = "needs Linux 4.17 (SECCOMP_FILTER_FLAG_SPEC_ALLOW)"
    return [Finding("trace", "speculation", ok=False, detail=f"a filter slows down jobs: {under}", remedy=remedy)]


def executing() -> list[Finding]:
    """Ask the launcher: it proves each step of a launch in a child of its own."""
    from sdee.runtime.programs import launcher_path  # noqa: PLC0415 - not needed for --help

    try:
        launcher = launcher_path()
    except SdeeError as error:
        return [Finding("execute", "launcher", ok=False, detail=error.message, remedy=error.hint)]
    done = subprocess.run([launcher, "--sdee-doctor"], capture_output=True, text=True, check=False)
    findings = []
    for line in done.stdout.splitlines():
        check, verdict, detail, remedy = line.split("\t")
        findings.append(Finding("execute", check, verdict == "ok", detail, remedy))
    if done.returncode != 0 or not findings:
        raise InternalError(f"the launcher's own check failed with status {done.returncode}", hint=done.stderr.strip())
    return findings


def environments(executing: list[Finding]) -> list[Finding]:
    """Prove that `sdee env` can keep its state in its directory, and say how owners will work.

    `executing`: what `executing` found. Where that has no user namespace its remedy is ours.
    """
    from sdee.runtime.environment import store, subordinate_ids  # noqa: PLC0415
    from sdee.runtime.environment.locations import base_directory  # noqa: PLC0415 - not needed for --help

    base = there = base_directory()
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    check = "state directory"
    try:
        store.refuse_nested()
        with tempfile.TemporaryDirectory(prefix=".sdee-doctor-", dir=there) as directory:
            sdee_env.run_helper("probe", directory)
        ranges = subordinate_ids.usable_ranges()
    except SdeeError as error:
        remedies = (f.remedy for f in executing if not f.ok and "namespaces" in f.check)
        remedy = next(remedies, "") or error.hint
        return [Finding("environment", check, ok=False, detail=f"{base}: {error.message}", remedy=remedy)]
    except OSError as error:
        remedy = "set SDEE_ENV_DIR to a directory on a local file system"
        return [Finding("environment", check, ok=False, detail=f"{there}: {error.strerror}", remedy=remedy)]
    owners = "real ids, by newuidmap" if ranges else "emulated: newuidmap has no range of 65535 ids for you"
    return [
        Finding("environment", check, ok=True, detail=f"overlayfs takes {base}", remedy=""),
        Finding("environment", "owners", ok=True, detail=owners, remedy=""),
    ]


def settings() -> list[Finding]:
    """Name the sysctls that block sdee, and only these."""
    findings = []
    for path, bad, meaning in _SYSCTLS:
        try:
            with open(path, encoding="ascii") as file:
                value = file.read().strip()
        except OSError:
            continue
        if value in bad:
            name = os.path.relpath(path, "/proc/sys").replace("/", ".")
            remedy = f"ask the administrator to change the sysctl {name}"
            part = "trace" if "ptrace" in name else "execute"
            findings.append(Finding(part, name, ok=False, detail=f"is {value}: {meaning}", remedy=remedy))
    return findings


def usable(findings: list[Finding]) -> bool:
    """Tell whether one engine works and the launcher can make a closed root (no overlayfs, no FUSE) in one way."""
    engine = any(f.ok for f in findings if f.check.startswith("engine"))
    way = any(f.ok for f in findings if f.check.startswith("way "))
    optional = ("overlayfs", "FUSE", "kernel.", "user.", "way ")
    needed = [f for f in findings if f.part == "execute" and not f.check.startswith(optional)]
    return engine and way and all(f.ok for f in needed)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--apparmor", is_flag=True, help="Print an AppArmor profile for /usr/bin/sdee-launcher.")
def doctor(*, as_json: bool, apparmor: bool) -> None:
    """Check what this machine can do, and how to fix the rest.

    sdee tries each step on a small child process; it does not judge by the kernel's version. Returns 0 when this
    machine can trace jobs and execute bundles, else 242. Private environments (`sdee env`) do not count for that.
    """
    if apparmor:
        click.echo(_APPARMOR, nl=False)
        return
    executable = executing()
    findings = [*tracing(), *executable, *settings(), *environments(executable)]
    good = usable(findings)
    if as_json:
        print_json({"ok": good, "findings": [asdict(f) for f in findings]})
    else:
        width = max(len(f.check) for f in findings)
        for part, title in _PARTS.items():
            click.echo(f"{title}:")
            for f in (f for f in findings if f.part == part):
                click.echo(f"  {'ok' if f.ok else 'NO':<3} {f.check:<{width}}  {f.detail}")
                if f.remedy:
                    click.echo(f"      {'':<{width}}  remedy: {f.remedy}")
        click.echo(
            "This machine can trace jobs and execute bundles."
            if good
            else "This machine lacks something that sdee needs: see the lines with NO."
        )
    sys.exit(0 if good else ExitCode.KERNEL)
