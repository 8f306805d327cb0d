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
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDEE = Path(sys.executable).parent / "sdee"
UID = 63003
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

BUILD = """
rm -rf ~/build && cp -r ~/source ~/build && cd ~/build
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n%%.o: %%.c\\n\\tgcc -std=gnu11 -D_GNU_SOURCE -O1 -I. -c $< -o $@\\n' >Makefile
make -s -j2 all"""

NUMPY = "apt-get install -y --no-install-recommends --reinstall python3-numpy >/dev/null 2>&1"


class Bench:
    """An ordinary user with a home, and an environment."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sdee-bench-"))
        os.chown(self.home, UID, UID)
        self.become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]

    def run(self, *command: str, user: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {
            "HOME": str(self.home),
            "PATH": f"{SDEE.parent}:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
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

    def close(self) -> None:
        self.run(str(SDEE), "env", "remove", "--force", "bench")
        shutil.rmtree(self.home, ignore_errors=True)


def as_root_over_an_overlay(home: Path, script: str) -> list[str]:
    """Real root, with the changes in a layer of their own so that this machine stays as it is: overlayfs without sdee."""
    layers = home / "root-layers"
    mounts = "mount -t tmpfs none /tmp;"
    for name in ("usr", "etc", "var"):
        mounts += f"mkdir -p {layers}/{name}/u {layers}/{name}/w; mount -t overlay -o lowerdir=/{name},upperdir={layers}/{name}/u,workdir={layers}/{name}/w x /{name};"
    return ["unshare", "-m", "bash", "-c", f"set -e; {mounts} {script}"]


def measure(bench: Bench) -> None:
    print(f"create                            {bench.seconds(str(SDEE), 'env', 'create', 'bench', repeat=1):8.2f} s")
    directories = sum(1 for _ in Path(bench.home).rglob("upper/**/"))
    print(f"directories of the skeleton       {directories:8d}")
    first = bench.seconds(str(SDEE), "env", "enter", "bench", "--", "true")
    print(f"enter, starting it                {first * 1e3:8.1f} ms")
    holder = subprocess.Popen(
        [*bench.become, str(SDEE), "env", "enter", "bench", "--", "sleep", "1000"],
        cwd=bench.home,
        env={"HOME": str(bench.home), "PATH": "/usr/bin:/bin"},
    )
    time.sleep(1)
    print(
        f"enter, joining it                 {bench.seconds(str(SDEE), 'env', 'enter', 'bench', '--', 'true') * 1e3:8.1f} ms"
    )
    python = bench.seconds(sys.executable, "-c", "pass")
    print(f"  of which Python's own start     {python * 1e3:8.1f} ms")
    if shutil.which("bwrap"):
        bwrap = bench.seconds("bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true")
        print(f"bwrap over the host's root        {bwrap * 1e3:8.1f} ms")
    shutil.copytree(
        ROOT / "runtime/environment",
        bench.home / "source",
        ignore=shutil.ignore_patterns("sdee-env", "*.py", "__pycache__"),
    )
    for path in (ROOT / "runtime/launcher").glob("e*.h"):
        shutil.copy(path, bench.home / "source")
    ratios = [
        (
            bench.seconds(str(SDEE), "env", "enter", "bench", "--", "bash", "-c", BUILD, repeat=1),
            bench.seconds("bash", "-c", BUILD, repeat=1),
        )
        for _ in range(5)
    ]
    inside, outside = min(a for a, _ in ratios), min(b for _, b in ratios)
    print(f"build of a C project              {inside:8.2f} s, outside {outside:.2f} s: {inside / outside:.2f} times")
    bench.inside("apt-get update; apt-get install -y --download-only --reinstall python3-numpy")
    inside = bench.seconds(str(SDEE), "env", "enter", "bench", "--", "bash", "-c", NUMPY, repeat=3)
    outside = bench.seconds(*as_root_over_an_overlay(bench.home, NUMPY), user=False, repeat=3)
    print(f"apt-get install python3-numpy     {inside:8.2f} s, root {outside:.2f} s: {inside / outside:.2f} times")
    holder.kill()


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
