"""What a private environment costs, and which Debian packages install in it.

    bench/environment.py              ratios against peers in the same run
    bench/environment.py --packages   installs each package as an ordinary user; --write puts the table into docs/environment.md

Both need root, to become an ordinary user; nothing of the machine is changed.
"""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDEE = Path(sys.executable).parent / "sdee"
UID = 63003
CREATED = 5
DOCUMENT = ROOT / "docs/environment.md"

# Those that this machine has already are unpacked and configured anew (apt-get --reinstall)
PACKAGES = [
    "hello",
    "build-essential",
    "python3-numpy",
    "openssh-client",
    "openssh-server",
    "postgresql-15",
    "postgresql",
    "nginx",
    "texlive-latex-base",
    "openmpi-bin",
    "default-jdk-headless",
    "openjdk-17-jre-headless",
    "ca-certificates-java",
    "systemd",
    "dbus",
    "postfix",
    "man-db",
    "cron",
    "samba-common",
    "gcc-12",
    "zsh",
    "fish",
    "environment-modules",
    "rpm",
    "sudo",
    "exim4-daemon-light",
    "mariadb-server",
    "redis-server",
    "apache2",
    "rsyslog",
]

INSTALL = """
export DEBIAN_FRONTEND=noninteractive
dpkg-query -W -f '${{db:Status-Abbrev}}' {0} 2>/dev/null | grep -q ^ii && again=--reinstall
apt-get install -y --no-install-recommends $again {0} >/tmp/log 2>&1; status=$?
echo "$status|$again|$(dpkg-query -W -f '${{db:Status-Abbrev}}|${{Version}}' {0} 2>/dev/null)|$(dpkg --audit | wc -l)"
apt-get purge -y {0} >/tmp/log2 2>&1; echo $?
tail -5 /tmp/log | cut -c1-200
"""

# sdee-env itself, with the flags of its Makefile; only make is timed, and what is entered before is another line
BUILD = """
cd ~ && rm -rf build && cp -r source build && cd build && rm Makefile
printf 'all: $(patsubst %%.c,%%.o,$(wildcard env/*.c env/*/*.c lib/*.c))\\n%%.o: %%.c\\n\\tgcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O2 -I. -c $< -o $@\\n' >Makefile
TIMEFORMAT=%R; time make -s -j{} all"""

# Without subordinate ids: one id is mapped, and owners that cannot be had are dropped
PODMAN = """exec podman --root ~/podman --runroot ~/podman-run --storage-driver overlay --storage-opt ignore_chown_errors=true \\
    --cgroup-manager cgroupfs --events-backend file --runtime runc "$@" """

NUMPY = "apt-get install -y --no-install-recommends --reinstall python3-numpy >/dev/null 2>&1"


class Bench:
    """An ordinary user with a home, and an environment."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sdee-bench-"))
        os.chown(self.home, UID, UID)
        self.holder: subprocess.Popen[bytes] | None = None
        self.become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]

    def run(self, *command: str, user: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {
            "HOME": str(self.home),
            "PATH": f"{SDEE.parent}:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "XDG_RUNTIME_DIR": str(self.home),
        }
        command = (*self.become, *command) if user else command
        return subprocess.run(
            command, cwd=self.home, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def inside(self, script: str, name: str = "bench") -> subprocess.CompletedProcess[str]:
        return self.run(str(SDEE), "env", "enter", name, "--", "bash", "-c", script)

    def seconds(self, *command: str, user: bool = True, repeat: int = 5) -> float:
        """The least of some runs: what others do on this machine only adds."""
        best = float("inf")
        for _ in range(repeat):
            began = time.perf_counter()
            done = self.run(*command, user=user)
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            best = min(best, time.perf_counter() - began)
        return best

    def hold(self) -> None:
        """Keep the session of the environment."""
        self.holder = subprocess.Popen(
            [*self.become, str(SDEE), "env", "enter", "bench", "--", "sleep", "10000"],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
        )
        time.sleep(1)

    def close(self) -> None:
        if self.holder is not None:
            self.run(str(SDEE), "env", "stop", "bench")
            self.holder.wait()
        for name in ["bench", *(f"bench{number}" for number in range(1, CREATED))]:
            self.run(str(SDEE), "env", "remove", "--force", name)
        if (self.home / "podman").exists():
            self.run("sh", "-c", PODMAN, "podman", "system", "reset", "--force")
        shutil.rmtree(self.home, ignore_errors=True)


def as_root_over_an_overlay(home: Path, script: str) -> list[str]:
    """Real root, with the changes in a layer of their own so that this machine stays as it is: overlayfs without sdee."""
    layers = home / "root-layers"
    mounts = "mount -t tmpfs none /tmp;"
    for name in ("usr", "etc", "var"):
        mounts += f"mkdir -p {layers}/{name}/u {layers}/{name}/w; mount -t overlay -o lowerdir=/{name},upperdir={layers}/{name}/u,workdir={layers}/{name}/w x /{name};"
    return ["unshare", "-m", "bash", "-c", f"set -e; {mounts} {script}"]


def line(what: str, value: str) -> None:
    """Print one result."""
    print(f"{what:34}{value}", flush=True)


def milliseconds(what: str, taken: list[float]) -> None:
    """Print the median and the least of some runs."""
    line(what, f"{statistics.median(taken) * 1e3:8.1f} ms, least {min(taken) * 1e3:.1f}")


def measure_create(bench: Bench) -> None:
    """Several, none removed meanwhile: ext4 looks past each inode that was freed in the last minutes (recently_deleted())."""
    names = ["bench", *(f"bench{number}" for number in range(1, CREATED))]
    taken = [bench.seconds(str(SDEE), "env", "create", name, repeat=1) for name in names]
    line("create", f"{statistics.median(taken):8.2f} s, of {len(taken)}: {', '.join(f'{one:.2f}' for one in taken)}")
    base = bench.home / ".local/share/sdee/environments/bench/layers"
    directories = sum(len(found) for top in base.glob("*/upper") for _, found, _ in os.walk(top))
    line("directories of the skeleton", f"{directories:8d}")


def measure_enter(bench: Bench) -> None:
    enter = (str(SDEE), "env", "enter", "bench", "--", "true")
    milliseconds("enter, starting it", [bench.seconds(*enter, repeat=1) for _ in range(11)])
    bench.hold()
    milliseconds("enter, joining it", [bench.seconds(*enter, repeat=1) for _ in range(11)])
    milliseconds(
        "  of which Python's own start", [bench.seconds(sys.executable, "-c", "pass", repeat=1) for _ in range(11)]
    )
    if shutil.which("bwrap"):
        bwrap = ("bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true")
        milliseconds("bwrap over the host's root", [bench.seconds(*bwrap, repeat=1) for _ in range(11)])


def measure_podman(bench: Bench) -> None:
    """A minimal Debian as an image, made here since no registry of images is in reach; imported and run by the user."""
    missing = [name for name in ("podman", "runc", "mmdebstrap") if shutil.which(name) is None]
    if missing:
        line("podman", f"not measured: apt-get install {' '.join(missing)}")
        return
    image = bench.home / "root.tar"
    made = bench.run("mmdebstrap", "--variant=minbase", "bookworm", str(image), user=False)
    if made.returncode:
        line("podman", f"not measured: mmdebstrap: {made.stderr.strip().splitlines()[-1]}")
        return
    podman = ("sh", "-c", PODMAN, "podman")
    line("podman import, minimal Debian", f"{bench.seconds(*podman, 'import', str(image), 'base', repeat=1):8.2f} s")
    run = (*podman, "run", "--rm", "--network", "none", "base", "true")
    milliseconds("podman run of it", [bench.seconds(*run, repeat=1) for _ in range(11)])
    bench.run(*podman, "run", "-d", "--network", "none", "--name", "held", "base", "sleep", "1000")
    milliseconds("podman exec in it", [bench.seconds(*podman, "exec", "held", "true", repeat=1) for _ in range(11)])
    bench.run(*podman, "rm", "-f", "-t", "0", "held")


def measure_build(bench: Bench) -> None:
    """In turn inside and outside, so that what else the machine does meets both."""
    shutil.copytree(ROOT / "runtime/native", bench.home / "source", ignore=shutil.ignore_patterns("sdee-*"))
    for jobs in (1, 2):
        script = BUILD.format(jobs)
        pairs = [(_timed(bench.inside(script)), _timed(bench.run("bash", "-c", script))) for _ in range(9)]
        inside, outside = min(a for a, _ in pairs), min(b for _, b in pairs)
        median = statistics.median(a / b for a, b in pairs)
        line(
            f"build of a C project, make -j{jobs}",
            f"{inside:8.2f} s, outside {outside:.2f} s: {inside / outside:.2f} times; median of {len(pairs)}: {median:.2f}",
        )


def _timed(done: subprocess.CompletedProcess[str]) -> float:
    assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
    return float(done.stderr.split()[-1])


def measure_apt(bench: Bench) -> None:
    bench.inside("apt-get update; apt-get install -y --download-only --reinstall python3-numpy")
    inside = bench.seconds(str(SDEE), "env", "enter", "bench", "--", "bash", "-c", NUMPY, repeat=3)
    outside = bench.seconds(*as_root_over_an_overlay(bench.home, NUMPY), user=False, repeat=3)
    line("apt-get install python3-numpy", f"{inside:8.2f} s, root {outside:.2f} s: {inside / outside:.2f} times")


def measure(bench: Bench) -> None:
    line("processors, load", f"{os.cpu_count():8d}, {os.getloadavg()[0]:.1f}")
    for part in (measure_create, measure_enter, measure_podman, measure_build, measure_apt):
        part(bench)
    line("load", f"{os.getloadavg()[0]:8.1f}")


def packages(bench: Bench, names: list[str], *, write: bool) -> None:
    bench.run(str(SDEE), "env", "create", "--emulate", "bench")
    bench.inside("apt-get update")
    rows = ["| package | version | installs | purges |", "|---|---|---|---|"]
    for name in names:
        lines = bench.inside(INSTALL.format(name)).stdout.splitlines()
        status, again, state, version, audit = (
            lines[0].split("|") if lines and lines[0].count("|") == 4 else ("-", "", "", "", "1")
        )
        good = status == "0" and state.startswith("ii") and audit == "0"
        how = "yes" + (", over the host's" if again else "") if good else f"no: {' '.join(lines[2:])}"
        purged = lines[1] if len(lines) > 1 else "-"
        rows.append(f"| {name} | {version} | {how} | {'yes' if purged == '0' else 'no'} |")
        print(rows[-1], flush=True)
        if purged == "0" and again:  # the next one may need it
            bench.inside(f"DEBIAN_FRONTEND=noninteractive apt-get install -y {name} >/dev/null 2>&1")
    if write:
        text = DOCUMENT.read_text()
        table = "\n".join(rows)
        DOCUMENT.write_text(
            re.sub(r"(?s)(<!-- packages -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table + m[2], text)
        )


def main(arguments: list[str]) -> None:
    if os.getuid():
        sys.exit("bench/environment.py needs root, to become an ordinary user")
    bench = Bench()
    try:
        if "--packages" in arguments:
            chosen = [name for name in arguments if not name.startswith("-")]
            packages(bench, chosen or list(PACKAGES), write="--write" in arguments)
        else:
            measure(bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main(sys.argv[1:])
