"""What a cluster is made of, as data: nodes, users, Slurm's configuration, hosts and accounts."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass

NETWORK = "10.77.0"
# an ordinary user, who owns what the tests make, and another one
USERS = {"tester": 1001, "other": 1002}
OWN = "own"  # flavour of a node that has this machine's own system


@dataclass(frozen=True)
class Node:
    """A compute node: a root of tests/foreign/roots.py or `own`, the partition it is in, and what ails it.

    `user_namespaces`: may its users make some. `tmp`: mount(8)'s options of /tmp, /var/tmp. `shm`: has it /dev/shm.
    `memory`: what /proc/meminfo says to be available, in KiB; 0: the truth.
    """

    name: str
    flavour: str
    partition: str = "all"
    user_namespaces: bool = True
    tmp: str = ""
    shm: bool = True
    memory: int = 0


# The three of partition `all` are what jobs run on when they ask for nothing. `own` is as most clusters are: the login
# node's system on every node, so that bare jobs run there. The odd ones are chosen by name.
NODES = (
    Node("n1", "bookworm"),
    Node("n2", "bullseye"),
    Node("n3", "trixie"),
    Node("own1", OWN, "own"),
    Node("nouserns", "bookworm", "odd", user_namespaces=False),
    Node("bare", "bullseye", "odd", tmp="size=64k,noexec", shm=False),
    Node("nomem", "trixie", "odd", memory=3000),
)


@dataclass(frozen=True)
class Spec:
    """A whole cluster: its directory (state, logs and `shared`, the storage that all nodes see), nodes, CPUs a node."""

    directory: str
    nodes: tuple[Node, ...] = NODES
    cpus: int = 4

    @property
    def state(self) -> str:
        """What only the cluster's own processes use."""
        return os.path.join(self.directory, "state")

    @property
    def shared(self) -> str:
        """The shared storage, at the same path everywhere."""
        return os.path.join(self.directory, "shared")

    def home(self, user: str) -> str:
        """Return a user's home, on shared storage."""
        return os.path.join(self.shared, "home", user)

    def address(self, name: str) -> str:
        """Return a node's address, or the login side's."""
        return f"{NETWORK}.{1 if name == 'login' else 11 + [node.name for node in self.nodes].index(name)}"

    def hosts(self) -> str:
        """Return hosts(5)."""
        names = ("login", *(node.name for node in self.nodes))
        return "127.0.0.1 localhost\n" + "".join(f"{self.address(name)} {name}\n" for name in names)

    def accounts(self, name: str, root: str) -> str:
        """Return passwd(5) or group(5), whichever `name` is, of the root at `root` with the cluster's users."""
        with open(f"{root}/etc/{name}", encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if line.split(":")[0] not in USERS]
        for user, uid in USERS.items():
            lines.append(f"{user}:x:{uid}:{uid}::{self.home(user)}:/bin/bash" if name == "passwd" else f"{user}:x:{uid}:")
        return "\n".join(lines) + "\n"

    def slurm_conf(self) -> str:
        """Return slurm.conf(5).

        The daemons are root's, since they share nothing with this machine. linuxproc, since the machine's cgroups are not
        ours. A node is as big as we say (config_overrides). KillWait: seconds from SIGTERM to SIGKILL.
        """
        lines = [
            "ClusterName=sdee",
            f"SlurmctldHost=login({self.address('login')})",
            "SlurmUser=root",
            f"StateSaveLocation={self.state}/slurmctld",
            f"SlurmctldPidFile={self.state}/slurmctld.pid",
            "SlurmdPidFile=/run/slurmd.pid",
            "SlurmdSpoolDir=/var/spool/slurmd",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0",
            "SlurmdParameters=config_overrides",
            "MpiDefault=none",
            "ReturnToService=2",
            "KillWait=3",
            "SlurmdTimeout=30",
            "MailProg=/bin/true",
        ]
        lines += [
            f"NodeName={node.name} NodeAddr={self.address(node.name)} CPUs={self.cpus} RealMemory=8000"
            f" Feature={node.flavour} State=UNKNOWN"
            for node in self.nodes
        ]
        for partition in dict.fromkeys(node.partition for node in self.nodes):
            names = ",".join(node.name for node in self.nodes if node.partition == partition)
            default = "YES" if partition == self.nodes[0].partition else "NO"
            lines.append(f"PartitionName={partition} Nodes={names} Default={default} MaxTime=INFINITE State=UP")
        return "\n".join(lines) + "\n"

    def dumps(self) -> str:
        """Return this as JSON, for the processes inside."""
        return json.dumps(dataclasses.asdict(self))


def loads(text: str) -> Spec:
    """Return the cluster that `Spec.dumps` wrote."""
    values = json.loads(text)
    nodes = tuple(Node(**node) for node in values.pop("nodes"))
    return Spec(nodes=nodes, **values)
