"""Which words of a command line say what runs: of `python -u plot.py 5` all but the last.

One table of interpreters, and one of programs that start another one (`env`, `nice`, `timeout`). Sources: the programs'
manual pages. Not here: mpirun and its like. How many processes they start is an argument that changes from run to run:
a job is traced with few and runs with many (`./bundle.sdee -n 64 ./app`). srun is the job manager's, and never in a
bundle.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Grammar:
    """How a program reads its options, up to the first word that is none.

    `values`: options with a value, in the same word or the next; `apart`: always in the next.
    `last`: options whose value is the program, and after which all is its arguments; `code`: those after which options
    go on; `adds`: options that make the first operand code, and the second its name; `stdin`: those without a script.
    `glued`: letters whose value, if any, ends the word. `verb`: words that follow the program's name. `operands`: those
    that belong to the program: a script, a time limit. `letters`: an option of one dash is several letters; `signs`:
    what options begin with; `end`: the word that ends them. `text`: the first operand is code, where no option gave
    any; `also`: what options gave as code does not replace the script.
    """

    names: str
    values: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    glued: frozenset[str] = frozenset()
    adds: frozenset[str] = frozenset()
    stdin: frozenset[str] = frozenset()
    verb: tuple[str, ...] = ()
    operands: int = 1
    letters: bool = True
    signs: str = "-"
    end: str = "--"
    text: bool = False
    also: bool = False

    def is_meant(self, words: list[str]) -> bool:
        """Return whether a command line begins with this program."""
        verb = words[1 : 1 + len(self.verb)]
        shapes = zip(self.verb, verb, strict=False)
        return (
            re.fullmatch(self.names, os.path.basename(words[0])) is not None
            and len(verb) == len(self.verb)
            and all(re.fullmatch(shape, word) for shape, word in shapes)
        )


_SHELL_OPTIONS = _set("-o +o -O +O --rcfile --init-file")
_JULIA = _set("""
    -L --load -J --sysimage -H --home -C --cpu-target -t --threads -p --procs --machine-file --gcthreads --bind-to
    --heap-size-hint --startup-file --history-file --handle-signals --sysimage-native-code --compiled-modules
    --pkgimages --compile --color --depwarn --inline --check-bounds --math-mode --banner --warn-overwrite --warn-scope
    --min-optlevel --polly --trace-compile
""")
_NODE = _set("""
    -r --require --import --loader --experimental-loader -C --conditions --input-type --title --env-file
    --diagnostic-dir --icu-data-dir --openssl-config --redirect-warnings --report-dir --report-directory
    --report-filename --unhandled-rejections --tls-keylog --dns-result-order --disable-warning --stack-trace-limit
    --max-http-header-size --trace-event-categories --inspect-port
""")
_JAVA = _set("""
    -cp -classpath --class-path -p --module-path --upgrade-module-path --add-modules --limit-modules --add-exports
    --add-opens --add-reads --patch-module --enable-native-access --source
""")
_OCTAVE = _set("""
    -p --path --image-path --info-file --info-program --built-in-docstrings-file --doc-cache-file --texi-macros-file
    --exec-path
""")
_RACKET_LAST = _set("-r -u --script --require-script")
_RACKET_CODE = _set("-e -f -t -l -p -k -m --eval --load --require --lib")
_SBCL = _set("--core --dynamic-space-size --control-stack-size --tls-limit --sysinit --userinit")
_ELIXIR = _set("-r -pr -pa -pz --erl --erl-config --cookie --name --sname --pipe-to")
_PHP_CODE = _set("-f -r -F -R -B -E --file --run --process-file --process-code --process-begin --process-end")

# What runs a program that is given as a file, a module, a class or a text
INTERPRETERS = (
    Grammar(r"(?:python|pypy|ipython)[\d.]*t?d?", _set("-W -X --check-hash-based-pycs --jit"), last=_set("-c -m")),
    Grammar(r"perl[\d.]*", _set("-I"), code=_set("-e -E"), glued=frozenset("iMmxFDVdC")),
    Grammar(r"j?ruby[\d.]*", _set("-I -r -C -X -E"), code=_set("-e"), glued=frozenset("iFKxW")),
    Grammar(r"(?:ba|da|a|k|mk|z|pdk)?sh|rbash", apart=_SHELL_OPTIONS, adds=_set("-c"), stdin=_set("-s"), signs="-+"),
    Grammar(r"t?csh", last=_set("-c")),
    Grammar(r"fish", _set("-C --init-command -d -D -o"), code=_set("-c --command")),
    Grammar(r"node(?:js)?[\d.]*", _NODE, code=_set("-e --eval -p --print -pe"), letters=False),
    Grammar(r"julia[\d.]*", _JULIA, last=_set("-m --module"), code=_set("-e --eval -E --print"), glued=frozenset("Og")),
    Grammar(r"octave(?:-(?:cli|gui))?(?:-[\d.]+)?", _OCTAVE, code=_set("--eval")),
    Grammar("Rscript", code=_set("-e")),
    Grammar("R", verb=("CMD", "BATCH")),
    Grammar("R", _set("-g --gui -d --debugger --encoding"), code=_set("-f --file -e"), operands=0, end="--args"),
    Grammar(r"(?:lua(?:jit)?|texlua)[\d.-]*", _set("-l -j"), code=_set("-e"), glued=frozenset("O"), also=True),
    Grammar(r"(?:tclsh|wish|jimsh)[\d.]*", _set("-encoding"), letters=False),
    Grammar(r"expect(?:k|[\d.])*", _set("-c"), code=_set("-f -b")),
    Grammar(r"php[\d.]*(?:-cli)?", _set("-c -d -z -t --define --php-ini"), code=_PHP_CODE),
    Grammar(r"guile[\d.-]*", _set("-L -C -x -l -e --language"), last=_set("-c -s")),
    Grammar(r"[gmn]?awk", _set("-F -v -i -l -W --assign --field-separator"), last=_set("-E --exec"),
            code=_set("-f -e --file --source"), glued=frozenset("dDLop"), text=True),
    Grammar(r"java", _JAVA, last=_set("-jar -m --module"), letters=False, signs="-@"),
    Grammar(r"ocaml", _set("-I -init -open -w -warn-error"), code=_set("-e"), letters=False),
    Grammar("racket", _set("-S -X -G -W -L -O -N -I -R -C --collects --config"), last=_RACKET_LAST, code=_RACKET_CODE),
    Grammar("swipl|swi-prolog", _set("-g -t -f -F -x -o -p -G"), code=_set("-s -l -c")),
    Grammar("sbcl", _SBCL, last=_set("--script"), code=_set("--load --eval"), operands=0, letters=False,
            end="--end-toplevel-options"),
    Grammar("elixir", _ELIXIR, last=_set("-S"), code=_set("-e --eval"), letters=False),
    Grammar("gnuplot", last=_set("-c"), code=_set("-e"), operands=0),
    Grammar(r"escript|run(?:ghc|haskell)"),
    Grammar(r"deno", verb=("run",), values=_set("-c --config --import-map --lock --seed --cert --location")),
)  # fmt: skip

_XVFB = _set("-e --error-file -f --auth-file -n --server-num -p --xauth-protocol -s --server-args -w --wait")
_NUMACTL = _set("-i --interleave -N --cpunodebind -m --membind -C --physcpubind -p --preferred")
_UV = _set("--with --with-requirements --python -p --project --directory --extra --group --env-file --index-url")

# What starts the program that its first operand names; `operands`: those before it
LAUNCHERS = (
    Grammar("env", _set("-u --unset -C --chdir -a --argv0"), operands=0),
    Grammar("time", _set("-f --format -o --output"), operands=0),
    Grammar("nice", _set("-n --adjustment"), operands=0),
    Grammar("ionice", _set("-c --class -n --classdata"), operands=0),
    Grammar("nohup|setsid|catchsegv|unbuffer|valgrind|dbus-run-session|busybox", operands=0),
    Grammar("stdbuf", _set("-i --input -o --output -e --error"), operands=0),
    Grammar("timeout", _set("-k --kill-after -s --signal")),
    Grammar("taskset"),
    Grammar("chrt", _set("-T -P -D --sched-runtime --sched-period --sched-deadline")),
    Grammar("faketime", _set("-f")),
    Grammar("numactl", _NUMACTL, operands=0),
    Grammar("xvfb-run", _XVFB, operands=0),
    Grammar("conda|mamba|micromamba", _set("-n --name -p --prefix --cwd"), verb=("run",), operands=0),
    Grammar("poetry|pipenv", verb=("run",), operands=0),
    Grammar("uv", _UV, verb=("run",), operands=0),
)  # fmt: skip


@dataclass
class _Reading:
    """What a reader of options has found. `at`: the word after those read; `named`: they say what runs."""

    at: int
    named: bool = False
    code: tuple[str, ...] = ()
    script: str = ""


def kept(command: list[str], real: str = "") -> int:
    """Return how many words of a command line stay when its arguments are replaced, at least 1.

    `real`: the program without links, which tells an interpreter that has another name.
    """
    words = list(command)
    before = 0
    while launcher := next((g for g in LAUNCHERS if words and g.is_meant(words)), None):
        reading = _read(launcher, words)
        at = reading.at
        while launcher.names == "env" and at < len(words) and "=" in words[at]:
            at += 1
        if at >= len(words):
            return 1
        before, words, real = before + at, words[at:], ""
    reading = _program(words, real)
    return before + (reading.at if reading.named else 1)


def code_of(command: list[str], real: str = "") -> tuple[str, ...]:
    """Return the texts of code that an interpreter is given on its command line: `-c`, `-e`."""
    return _program(list(command), real).code


def script_of(command: list[str], real: str = "") -> str:
    """Return the word that names the file which an interpreter is given as the script, "" for none."""
    return _program(list(command), real).script


def _program(words: list[str], real: str) -> _Reading:
    """Return what the words of an interpreter say; nothing of another program's."""
    for name in (*words[:1], real):
        for grammar in INTERPRETERS:
            if name and words and grammar.is_meant([name, *words[1:]]):
                return _read(grammar, words)
    return _Reading(1)


def _read(grammar: Grammar, words: list[str]) -> _Reading:
    reading = _Reading(1 + len(grammar.verb), named=not grammar.operands)
    operands, text = grammar.operands, grammar.text
    while reading.at < len(words):
        word = words[reading.at]
        if word == grammar.end or (word == "-" and grammar.adds):  # sh(1): the same
            reading.at += 1
            break
        if len(word) < 2 or word[0] not in grammar.signs:
            break
        options, value = _options(grammar, word)
        wanted = sum(_words_of(grammar, option) for option in options) - (value is not None)
        given = [value] if value is not None else words[reading.at + 1 : reading.at + 1 + wanted]
        reading.at += 1 + wanted
        if any(option in grammar.last for option in options):
            return _Reading(min(reading.at, len(words)), named=True, code=_code(options, given))
        if any(option in grammar.code for option in options):
            reading.named, operands, text = True, operands if grammar.also else 0, False
            reading.code += tuple(given)
        if not grammar.adds.isdisjoint(options):
            operands, text = 2, True
        if not grammar.stdin.isdisjoint(options):
            reading.named, operands = True, 0
    reading.at = min(reading.at, len(words))
    found = words[reading.at : reading.at + operands]
    reading.at += len(found)
    reading.named = reading.named or bool(found)
    reading.code += tuple(found[:1]) if text else ()
    reading.script = found[-1] if found and not text else ""
    return reading


def _code(options: list[str], given: list[str]) -> tuple[str, ...]:
    return tuple(given) if options[-1:] == ["-c"] else ()  # not a module, a file, a class


def _words_of(grammar: Grammar, option: str) -> int:
    return int(any(option in known for known in (grammar.values, grammar.apart, grammar.last, grammar.code)))


def _options(grammar: Grammar, word: str) -> tuple[list[str], str | None]:
    """Return the options in a word, and the value in it, None for none."""
    if word.startswith("--") or not grammar.letters:
        name, equals, value = word.partition("=")
        return [name], value if equals and _words_of(grammar, name) else None
    found: list[str] = []
    for at, letter in enumerate(word[1:], 2):
        option = word[0] + letter
        found.append(option)
        if letter in grammar.glued:
            break
        if _words_of(grammar, option) and option not in grammar.apart:
            return found, word[at:] or None
    return found, None
