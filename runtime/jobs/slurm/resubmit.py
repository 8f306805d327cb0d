"""The program that stands for sbatch outside of a bundle: what a job submits runs in a bundle, too.

Scripts that the run on the login node submitted have bundles of their own. Any other (made by the job, given by --wrap
or on standard input) runs in the bundle of the job that submits it: where that did so in the run here, all that was
changed in the environment is in it (src/sdee/cli/inside/submissions.py).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sdee.runtime.jobs import scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdee.runtime.jobs.options import Table

# Which word is the script? Then the same words, with another script in its place, or at the end
_OTHERS = r"""
sdee_state=options sdee_number=0 sdee_at=0 sdee_kind=stdin sdee_wrap=
for sdee_word; do
  sdee_number=$((sdee_number + 1))
  case $sdee_state in
  value) sdee_state=options; continue ;;
  wrap) sdee_state=options sdee_kind=wrap sdee_wrap=$sdee_word; continue ;;
  dashes) sdee_at=$sdee_number sdee_kind=script; break ;;
  esac
  case $sdee_word in
  --wrap=*) sdee_kind=wrap sdee_wrap=${sdee_word#--wrap=} ;;
  --wrap) sdee_state=wrap ;;
  --help | --usage | --version | --test-only | -h | -V) exec sbatch "$@" ;;
  --) sdee_state=dashes ;;
  @VALUES@) sdee_state=value ;;
  -*) ;;
  *)
    [ "$sdee_kind" = stdin ] || exec sbatch "$@" # --wrap and a script: it says what is wrong
    sdee_at=$sdee_number sdee_kind=script
    break ;;
  esac
done
sdee_name=sbatch
case $sdee_kind in
script)
  sdee_name=${sdee_word##*/} sdee_file=$sdee_word
  [ -f "$sdee_file" ] || sdee_file=$(command -v "$sdee_word")
  [ -f "$sdee_file" ] && [ -r "$sdee_file" ] || exec sbatch "$@" ;;
wrap) sdee_name=wrap ;;
esac
sdee_name=$(printf %s "$sdee_name" | tr '[:cntrl:]' '?')
sdee_made=$(mktemp @OUTSIDE@/submitted-XXXXXX) || {
  printf '%s\n' "sdee: sbatch in a job: $sdee_name runs on the node itself, outside of the environment" >&2
  exec sbatch "$@"
}
case $sdee_kind in
script) cat "$sdee_file" ;;
wrap) printf '#!/bin/sh\n%s\n' "$sdee_wrap" ;;
stdin) cat ;;
esac >"$sdee_made"
case $(head -n 1 "$sdee_made") in '#!'*) ;; *) exec sbatch "$@" <"$sdee_made" ;; esac
chmod 700 "$sdee_made"
{
  echo '#!/bin/sh'
  case $sdee_name in *[\"\\]*) ;; *) printf '#SBATCH --job-name="%s"\n' "$sdee_name" ;; esac
  sed -n '/^[[:space:]]*[^#[:space:]]/q; /^#SBATCH/p' "$sdee_made"
  printf 'SDEE_COMMAND=%s/%s\n' @QUOTED@ "${sdee_made##*/}"
  printf '%s\n' 'export SDEE_COMMAND' @RUN@
} >"$sdee_made.sh"
sdee_said="which was not submitted when this job was prepared, runs in its bundle"
printf '%s\n' "sdee: sbatch in a job: $sdee_name, $sdee_said" >&2
sdee_state=options sdee_number=0 sdee_left=$#
while [ "$sdee_left" -gt 0 ]; do
  sdee_word=$1 sdee_number=$((sdee_number + 1)) sdee_left=$((sdee_left - 1))
  shift
  case $sdee_state in
  wrap) sdee_state=options; continue ;;
  value) sdee_state=options ;;
  options)
    case $sdee_word in
    --wrap) sdee_state=wrap; continue ;;
    --wrap=* | --) continue ;;
    @VALUES@) sdee_state=value ;;
    esac ;;
  esac
  [ "$sdee_number" != "$sdee_at" ] || sdee_word=$sdee_made.sh sdee_state=arguments
  set -- "$@" "$sdee_word"
done
[ "$sdee_kind" = script ] || set -- "$@" "$sdee_made.sh"
exec sbatch "$@"
"""


def program(known: Mapping[str, str], table: Table, bundle: str, served: Sequence[str]) -> str:
    """Return the program. `known`: where scripts are found, and what is submitted in their place.

    `table`: sbatch's options; `bundle`: the job's own, with the words before it that serve it.
    """
    cases = [
        f'[ "$sdee_word" -ef {shlex.quote(script)} ] && sdee_own={shlex.quote(written)}'
        for script, written in known.items()
    ]
    outside = shlex.quote(served[-1])
    # a word of this shell's text, and words of the script's that it writes
    others = scripts.fill(
        _OTHERS,
        VALUES=values(table),
        RUN=shlex.quote("\n".join(run(bundle, served))),
        QUOTED=shlex.quote(outside),
        OUTSIDE=outside,
    )
    return "\n".join(
        [
            "#!/bin/sh",
            "# Written by sdee. What a job submits runs in a bundle, too",
            "sdee_found= sdee_left=$#",
            'while [ "$sdee_left" -gt 0 ]; do',
            "  sdee_word=$1 sdee_own= sdee_left=$((sdee_left - 1))",
            "  shift",
            '  if [ -z "$sdee_found" ]; then',
            *(f"    {case}" for case in cases),
            "  fi",
            '  set -- "$@" "${sdee_own:-$sdee_word}"',
            "  sdee_found=$sdee_found$sdee_own",
            "done",
            '[ -z "$sdee_found" ] || exec sbatch "$@"',
            others.strip("\n"),
            "",
        ]
    )


def run(bundle: str, served: Sequence[str]) -> list[str]:
    """Return the lines of a batch script that runs its bundle, served."""
    return [
        f"sdee_bundle={shlex.quote(bundle)}",
        scripts.THERE,
        "SDEE_CHDIR=$PWD",
        "export SDEE_CHDIR",
        f'exec {shlex.join(served)} "$sdee_bundle" "$@"',
    ]


def values(table: Table) -> str:
    """Return options with a value in the next word, as a pattern of sh's `case`."""
    letters = "".join(sorted(short for short, name in table.short.items() if name in table.values))
    names = sorted(name for name in table.values if len(name) > 1 and name != "wrap")
    return "|".join([*(f"-{letter}" for letter in letters), *(f"--{name}" for name in names)])
