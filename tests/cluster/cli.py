"""The cluster by hand, as root: python tests/cluster COMMAND.

    up [--own]             start it; with --own only a node that has this machine's own system
    status                 its nodes, as Slurm sees them
    run COMMAND…           COMMAND on the login side, as the ordinary user, where you are
    root COMMAND…          the same as root
    node NAME COMMAND…     COMMAND on a node as root, past Slurm, to look around
    down                   stop it; what lies in its shared directory stays

Its directory is $CLUSTER_DIR (/home/sdee-cluster when that is not set); DIRECTORY/shared is what all nodes see.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from cluster import inside
from cluster.driver import CannotBuildError, Cluster, ClusterError
from cluster.spec import NODES, OWN, USERS, Spec
from foreign import node as foreign

DIRECTORY = os.environ.get("CLUSTER_DIR") or "/home/sdee-cluster"


def main() -> None:
    """Do what the command line says."""
    try:
        status = _main(sys.argv[1:])
    except (CannotBuildError, ClusterError) as error:
        sys.exit(f"cluster: {error}")
    sys.exit(status)


def _main(words: list[str]) -> int:
    match words:
        case ["up", *options] if set(options) <= {"--own"}:
            return _up([node for node in NODES if node.flavour == OWN or not options])
        case ["down"]:
            Cluster.of(DIRECTORY).stop()
            return 0
        case ["status"]:
            return _pass(Cluster.of(DIRECTORY).command(["sinfo", "-N", "-o", "%8N %9P %10T %E"]))
        case ["run" | "root" as who, _, *_]:
            user = "root" if who == "root" else next(iter(USERS))
            return _pass(Cluster.of(DIRECTORY).command(words[1:], user=user, cwd=os.getcwd()))
        case ["node", name, _, *_]:
            cluster = Cluster.of(DIRECTORY)
            return _pass(cluster.node_command(name, words[2:]))
        case ["inside", directory, *options]:
            if options:
                foreign.libc.prctl(foreign.PR_SET_PDEATHSIG, 9, 0, 0, 0)
            inside.hold(Cluster.of(directory).spec)
        case ["inside-node", directory, name]:
            inside.node(Cluster.of(directory).spec, name)
            return 1
    sys.stderr.write(__doc__ or "")
    return 2


def _up(nodes: list[object]) -> int:
    begun = time.monotonic()
    cluster = Cluster(Spec(DIRECTORY, tuple(nodes)))  # type: ignore[arg-type]
    cluster.start()
    print(f"up in {time.monotonic() - begun:.1f} s; all nodes see {cluster.spec.shared}")
    return 0


def _pass(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode
