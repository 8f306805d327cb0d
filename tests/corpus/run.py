"""Run the corpus: each job traced and bundled here, then run on each system, on its own input and on another.

    python tests/corpus/run.py [JOB]… [--root NAME]… [--write] [--keep]        (make corpus JOB=r ROOT=trixie)

Prints a table job by system as it goes, and after it why each failure failed, with the command that repeats it.
`--write` puts the rows into docs/corpus.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import chain

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from corpus.spec import Spec, install, load, names
from foreign.jobs import Run, Workshop, as_user
from foreign.node import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, check, libc, mount, run_on_node
from foreign.roots import ROOTS, USER, check_machine, root_path

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "corpus.md")
WIDTH = 18


@dataclass
class Row:
    """One job's results: for each system what failed, nothing when all is well; `size` of the bundle in bytes."""

    spec: Spec
    size: int = 0
    seconds: float = 0
    here: str = ""
    failures: dict[str, list[str]] = field(default_factory=dict)

    def cell(self, root: str) -> str:
        """Return what stands in the table."""
        if self.here:
            return "—"
        if root not in self.failures:
            return ""
        kinds = [failure.split(":")[0] for failure in self.failures[root]]
        return "fails (" + ", ".join(kinds) + ")" if kinds else "pass"


def comparable(run: Run, spec: Spec) -> Run:
    """Return a run without what differs each time. Standard error is for people: not compared."""
    return replace(run, stdout=spec.comparable(run.stdout), stderr="")


def run_job(spec: Spec, roots: list[str], base: str) -> Row:
    """Run one job everywhere."""
    row, begun = Row(spec), time.monotonic()
    try:
        shop = Workshop(spec.first, os.path.join(base, spec.name))
        bare = comparable(shop.run(timeout=spec.timeout), spec)
        shop.job = spec.second
        second = comparable(shop.run(timeout=spec.timeout), spec)
        for name, run in (("run", bare), ("second", second)):
            if run.status or not (run.stdout or run.outputs):
                row.here = f"{name} fails on this machine: status {run.status}"
                return row
        shop.job = spec.first
        if found := bare.differences(comparable(shop.trace_and_bundle(spec.timeout), spec)):
            row.here = "under trace: " + "; ".join(found)
            return row
        row.size = os.path.getsize(shop.bundle)
        make_node_copies(shop, spec)
        for root in roots:
            row.failures[root] = _elsewhere(shop, spec, root, bare, second)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
        row.here = f"{shlex.join(map(str, error.cmd))}: status {error.returncode}: {said}"
    except subprocess.TimeoutExpired as error:
        row.here = f"{error}"
    row.seconds = time.monotonic() - begun
    return row


def make_node_copies(shop: Workshop, spec: Spec) -> None:
    """Make what the node has at the place of home and working directory where it differs: PLACE-node, for renew_node().

    Raises subprocess.CalledProcessError when a script fails.
    """
    shop.renew()
    for place, script in ((shop.home, spec.node_home), (shop.work, spec.node_work)):
        if script:
            words = shop.words(("bash", "-c", f"set -e\n{script}"))
            done = as_user(words, cwd=place, env=shop.env(), timeout=spec.timeout)
            if done.returncode:
                raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
            subprocess.run(["cp", "-a", place, f"{place}-node"], check=True)


def renew_node(shop: Workshop) -> list[str]:
    """Make working directory and home as the node has them; return what it shares."""
    shop.renew()
    for place in (shop.home, shop.work):
        if os.path.isdir(f"{place}-node"):
            shutil.rmtree(place)
            subprocess.run(["cp", "-a", f"{place}-node", place], check=True)
    home = [shop.home] if os.path.isdir(f"{shop.home}-node") else []
    return [shop.work, os.path.dirname(shop.bundle), *home]


def left_in_home(home: str) -> list[str]:
    """Return what sdee left in a home that the node has."""
    return [os.path.join(top, name) for top, *lists in os.walk(home) for name in chain(*lists) if "sdee" in name]


def _elsewhere(shop: Workshop, spec: Spec, root: str, bare: Run, second: Run) -> list[str]:
    """Run both commands on one system; return what differs."""
    found = []
    for kind, job, here in (("own", spec.first, bare), ("second", spec.second, second)):
        shop.job = job
        shared = renew_node(shop)
        env = {**shop.env(), "SDEE_QUIET": "1"}
        arguments: list[str] = []
        if kind == "second":
            program, *arguments = shop.words(job.command)
            env["SDEE_COMMAND"] = program
            if spec.second_env:
                env["SDEE_PASS_ENV"] = ",".join(spec.second_env)
        done = run_on_node(
            root_path(root), [shop.bundle, *arguments], shared=shared, cwd=shop.work, env=env, timeout=spec.timeout
        )
        there = comparable(shop.result(done.status, done.stdout, done.stderr), spec)
        left = [*done.left.processes, *done.left.mounts, *(f for f in done.left.files if "sdee" in f)]
        left += left_in_home(shop.home) if shop.home in shared else []
        wrong = here.differences(there) + ([f"left behind: {left}"] if left else [])
        if wrong:
            said = "\n    ".join(done.stderr.strip().splitlines()[-12:])
            found.append(f"{kind}: {'; '.join(wrong)}\n    {said}\n    repeat: {shlex.join(done.command)}")
    return found


def line(row: Row, roots: list[str]) -> str:
    """Return a row of the document's table."""
    size = f"{row.size / 1e6:.1f}" if row.size else ""
    return "| " + " | ".join((row.spec.name, row.spec.about, size, *(row.cell(root) for root in roots))) + " |"


def write_document(rows: list[Row]) -> None:
    """Put rows into docs/corpus.md, in place of those of the same jobs; all systems must have run."""
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    head, _, rest = text.partition("<!-- rows -->\n")
    old, mark, tail = rest.partition("<!-- end -->")
    known = {match[1]: match[0] for match in re.finditer(r"^\| ([^ |]+) \|.*$", old, re.MULTILINE)}
    known |= {row.spec.name: line(row, list(ROOTS)) for row in rows}
    titles = ["job", "what", "MB", *ROOTS]
    table = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    table += [known[name] for name in names() if name in known]
    cells = [cell for row in table[2:] for cell in row.split(" | ")[3:]]
    run = [cell.strip(" |") for cell in cells if cell.strip(" |") not in ("", "—")]
    own, second = (sum(kind not in cell for cell in run) for kind in ("own", "second"))
    count = (
        f"{len(run) // len(ROOTS)} jobs on {len(ROOTS)} systems: the traced command passes in {own} of {len(run)} runs "
        f"({own / len(run):.1%}), the second in {second} ({second / len(run):.1%})."
    )
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(head + "<!-- rows -->\n" + count + "\n\n" + "\n".join(table) + "\n" + mark + tail)


def main() -> int:
    """Run what is asked for; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description="run the corpus of real jobs on foreign systems")
    parser.add_argument("jobs", nargs="*", metavar="JOB", choices=[*names(), []], help="which (all)")
    parser.add_argument("--root", action="append", choices=list(ROOTS), help="on which system (all)")
    parser.add_argument("--write", action="store_true", help="put the results into docs/corpus.md")
    parser.add_argument("--keep", action="store_true", help="keep the directories of jobs that passed, too")
    options = parser.parse_args()
    roots = options.root or list(ROOTS)
    check_machine()
    specs = [load(name) for name in options.jobs or names()]
    install(specs)
    add_account()
    base = tempfile.mkdtemp(prefix="sdee-corpus-", dir="/home")
    os.chmod(base, 0o755)
    print(f"{'':{WIDTH}}" + "".join(f"{root:{WIDTH}}" for root in roots) + "MB      s")
    rows = []
    for spec in specs:
        row = run_job(spec, roots, base)
        rows.append(row)
        cells = "".join(f"{row.cell(root):{WIDTH}}" for root in roots)
        print(f"{spec.name:{WIDTH}}{cells}{row.size / 1e6:<8.1f}{row.seconds:.0f}", flush=True)
        if not (options.keep or row.here or any(row.failures.values())):
            shutil.rmtree(os.path.join(base, spec.name))
    return report(rows, base, write=options.write and not options.root)


def add_account() -> None:
    """Let this machine know the user, as all nodes do, in this process's mount namespace only (initdb and ssh ask)."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    for name, line in (("passwd", f"tester:x:{USER}:{USER}::/home/tester:/bin/bash"), ("group", f"tester:x:{USER}:")):
        with tempfile.NamedTemporaryFile("w") as file, open(f"/etc/{name}") as original:
            file.write(f"{original.read().rstrip()}\n{line}\n")
            file.flush()
            os.chmod(file.name, 0o644)
            mount(file.name, f"/etc/{name}", flags=MS_BIND)


def report(rows: list[Row], base: str, *, write: bool) -> int:
    """Say what failed and why; write the document; return 1 if anything failed."""
    for row in rows:
        if row.here:
            print(f"\n{row.spec.name}: {row.here}")
        for root, failures in row.failures.items():
            for failure in failures:
                print(f"\n{row.spec.name} on {root}, {failure}")
    if write:
        write_document(rows)
    failed = any(row.here or any(row.failures.values()) for row in rows)
    if failed:
        print(f"\nkept: {base}")
    elif not os.listdir(base):
        os.rmdir(base)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
