"""The measurements of docs/performance.md: every number is a ratio against a peer in the same run.

    python bench/run.py [--only NAME]… [--repeat N] [--write]

Commands that are compared run alternately, so that a busy machine slows both; the ratio is that of their medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess

from harness import ROOT, Bench, Row
from parallel import ROWS as PARALLEL
from rows import ROWS as SINGLE

ROWS = [*SINGLE, *PARALLEL]


def measure(row: Row, bench: Bench) -> str:
    """Return a row of the table. A peer that fails does not end the benchmark: the row says why."""
    try:
        result = row.measure(bench)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return f"| {row.what} | {row.against} | ≤ {row.reach} | - | not measured | {str(error).splitlines()[0]} |"
    verdict = "reached" if result.ratio <= row.reach else "**not reached**"
    return f"| {row.what} | {row.against} | ≤ {row.reach} | {result.ratio:.2f} | {verdict} | {result.detail} |"


def main() -> None:
    """Parse options, measure, print."""
    parser = argparse.ArgumentParser(description="Measure sdee against its peers.")
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    bench = Bench(options.repeat)
    lines = ["| what | against | reach | found | | from |", "|---|---|---|---|---|---|"]
    print("\n".join(lines))
    for row in ROWS:
        if not options.only or row.name in options.only:
            lines.append(measure(row, bench))
            print(lines[-1], flush=True)
    if options.write:
        path = ROOT / "docs" / "performance.md"
        machine = f"Linux {platform.release().split('-')[0]}, {os.cpu_count()} CPUs, median of {options.repeat} runs."
        table = "\n".join([machine, "", *lines])
        marks = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)
        path.write_text(marks.sub(lambda m: f"{m[1]}{table}\n{m[2]}", path.read_text()))


if __name__ == "__main__":
    main()
