"""A real Grid Engine of one host, in namespaces of its own: start it, run things on it, stop it. Needs root.

Its host is this machine's system: what a foreign node needs of a bundle, the Slurm cluster shows (tests/cluster).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

from foreign.roots import CannotBuildError, check_machine

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ("gridengine-master", "gridengine-exec", "gridengine-client")
START_LIMIT = 60.0  # seconds
UID = "1001"


def check_possible() -> None:
    """Raise CannotBuildError where this machine cannot have a Grid Engine."""
    check_machine()
    lacking = [name for name in ("sge_qmaster", "sge_execd", "qsub", "ip") if shutil.which(name) is None]
    if lacking:
        raise CannotBuildError(f"needs {', '.join(lacking)}; as root: apt-get install {' '.join(PACKAGES)} iproute2")


class GridEngine:
    """A Grid Engine; `shared` is a directory of the ordinary user's."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.shared = os.path.join(directory, "shared")

    def start(self) -> None:
        """Start it and wait until it takes jobs; it ends with this process.

        Raises CannotBuildError where this machine cannot have one, RuntimeError when it does not come up.
        """
        check_possible()
        os.makedirs(self.shared)
        os.chown(self.shared, int(UID), int(UID))
        unshare = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        with open(f"{self.directory}/log", "wb") as log:
            holder = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *unshare, "bash", f"{HERE}/inside.sh", self.directory],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_LIMIT
        while not os.path.exists(f"{self.directory}/pid"):
            if time.monotonic() > deadline or holder.poll() is not None:
                holder.kill()
                with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
                    raise RuntimeError(f"Grid Engine does not come up: {file.read()}")
            time.sleep(0.1)

    def pid(self) -> int:
        """Return the id of its process 1, 0 when it is not up."""
        try:
            with open(f"{self.directory}/pid", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return 0

    def stop(self) -> None:
        """End it, with all its processes and mounts."""
        if pid := self.pid():
            os.kill(pid, signal.SIGKILL)

    def run(
        self, argv: list[str], *, cwd: str = "", user: str = "tester", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on its host as the ordinary user, or as root; after `timeout` seconds its status is 124."""
        enter = ["nsenter", "-t", str(self.pid()), "-m", "-n", "-u", "-i", "-p", f"-W{cwd or self.shared}", "--"]
        become = [] if user == "root" else ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        variables = ["env", "-i", "SGE_ROOT=/var/lib/gridengine", "LANG=C.UTF-8", "USER=tester", f"HOME={self.shared}"]
        variables.append("PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        return subprocess.run(
            [*enter, *become, *variables, "timeout", "-k", "5", str(timeout), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
