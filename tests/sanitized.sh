#!/bin/bash
# tests/sanitized.sh PROGRAM SANITIZERS PYTEST-ARGUMENT...: run tests with PROGRAM, sdee-env or sdee-front, built with sanitizers,
# address,undefined or thread. Fails on a report as well as on a failed test. The ordinary program is built again at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${SDEE_TEST_PLACE:-}" ] || exec tests/apart tests/sanitized.sh "$@"
program=$1 sanitizers=$2; shift 2
reports=/var/tmp/sdee-sanitizers
rm -rf $reports
mkdir -m 1777 $reports
chmod 1777 $reports
trap 'make -s -B -C runtime/native "$program"' EXIT
make -s -B -C runtime/native "$program" SANITIZERS="$sanitizers"
failed=0
.venv/bin/python -m pytest -q -p no:cacheprovider "$@" || failed=1
if [ -n "$(ls $reports)" ]; then
  head -60 $reports/*
  echo "sanitized.sh: $(ls $reports | wc -l) reports in $reports" >&2
  failed=1
fi
exit $failed
