"""Which words of a command line stay when its arguments are replaced: by lines, and as real interpreters see it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from sdee.packer.command_words import code_of, kept, script_of

if TYPE_CHECKING:
    from pathlib import Path

# `|` stands before the first argument
LINES = """
./app | 5 6
/opt/x/app | --input 5
python plot.py | 5
python3.11 -u -W ignore -X dev plot.py | -v 5
python3 -Wignore plot.py | 5
python -m http.server | 8000
python -uc 'print(1)' | 5
python -mjson.tool | a.json
python - | 5
python | -u
ipython3 job.py | 5
perl -lane 'print' | f
perl -0777ne 'print' | f
perl -pi.bak -e 's/a/b/' | f
perl -I lib -MList::Util=sum s.pl | 5
perl -e a -e b -w | f
perl -e a -- | -x
ruby -rjson -W0 a.rb | 5
bash s.sh | 5
bash -euo pipefail s.sh | 5
bash -o pipefail -c 'echo $1' sh | 5
bash -ec 'echo hi' |
sh --rcfile x s.sh | 5
sh - s.sh | 5
sh +x s.sh | 5
bash -s | 1 2
zsh -f s.zsh | 5
tcsh -fc 'echo hi' | 5
fish -c 'echo $argv' | 5
node --max-old-space-size=4096 -r dotenv app.js | 5
node -pe 'process.argv' | 5
julia --project=. -t 4 a.jl | 5
julia -t4 --project -e 'println(ARGS)' | 5
octave-cli -qf --path lib a.m | 5
octave --eval 'disp(1)' | 5
Rscript --vanilla a.R | 5
Rscript -e 'f()' -e 'g()' | 5
R --no-save -f a.R --args | 5
R --slave --file=a.R --args | 5
R -f a.R |
R CMD BATCH --no-save a.R | a.out
lua5.4 -l x -e 'y=1' a.lua | 5
lua -e 'print(1)' |
tclsh -encoding utf-8 a.tcl | 5
expect -f a.exp | 5
php -d a=b a.php | 5
php -r 'echo 1;' -- | -5
guile -e main -s a.scm | 5
awk -F : '{print $1}' | f
awk -f p.awk -v a=1 | f
java -Xmx1g -cp x:y Main | 5
java -jar a.jar | 5
java -p mods -m a/b.C | 5
java @options Main | 5
ocaml -I lib a.ml | 5
racket a.rkt | 5
racket -I typed/racket -u a.rkt | 5
racket -e '(display 1)' | 5
swipl -g main -t halt a.pl | 5
sbcl --noinform --script a.lisp | 5
sbcl --load a.lisp --end-toplevel-options | 5
elixir -r b.exs a.exs | 5
elixir -e 'IO.puts(1)' | 5
gnuplot -c a.gp | 5
gnuplot | a.gp
deno run --allow-net -c d.json a.ts | 5
env -u A X=1 Y=2 python s.py | 5
env -i ./app | 5
nice -n 5 ./app | 5
nohup nice -10 python -u s.py | 5
/usr/bin/time -f %e -v python s.py | 5
timeout -k 5 60 python s.py | 5
taskset -c 0-3 ./app | 5
numactl -m 0 --cpunodebind=0 ./app | 5
stdbuf -oL python s.py | 5
xvfb-run -a -s '-screen 0 640x480x24' python s.py | 5
conda run -n lab --no-capture-output python s.py | 5
uv run --with numpy s.py | 5
mpirun | -n 4 python s.py 5
srun | -n 4 ./app 5
env | -0
"""


@pytest.mark.parametrize("line", [line for line in LINES.splitlines() if line])
def test_what_runs_stays_and_its_arguments_do_not(line: str) -> None:
    program, _, arguments = line.partition("|")
    words = shlex.split(program)
    assert kept([*words, *shlex.split(arguments)]) == len(words)


def test_a_link_of_another_name_is_what_it_leads_to() -> None:
    assert kept(["py", "s.py", "5"]) == 1
    assert kept(["py", "s.py", "5"], "/usr/bin/python3.11") == 2


def test_code_and_script_of_a_command_line() -> None:
    assert code_of(["perl", "-ne", "a", "-e", "b", "f"]) == ("a", "b")
    assert code_of(["bash", "-lc", "a", "x"]) == ("a",)
    assert code_of(["python", "-m", "a"]) == ()
    assert script_of(["bash", "-o", "pipefail", "s.sh", "5"]) == "s.sh"
    assert script_of(["python", "-m", "a"]) == script_of(["perl", "-e", "a", "f"]) == script_of(["./app", "a"]) == ""


_JAVA = 'class A { public static void main(String[] a) { System.out.print(String.join(" ", a)); } }'
# For each interpreter: its words, the script's name and text. Each prints its arguments
REAL = {
    "python3 -W ignore -u": ("a.py", "import sys; print(*sys.argv[1:])"),
    "perl -I lib -w": ("a.pl", 'print "@ARGV\n"'),
    "bash -e -o pipefail": ("a.sh", 'echo "$@"'),
    "zsh -f": ("a.zsh", "echo $@"),
    "ruby -W0 -r json": ("a.rb", "puts ARGV.join(' ')"),
    "node --stack-trace-limit=5": ("a.js", "console.log(process.argv.slice(2).join(' '))"),
    "Rscript --vanilla": ("a.R", "cat(commandArgs(TRUE), '\n', sep=' ')"),
    "lua5.4 -l math": ("a.lua", "print(table.concat(arg, ' '))"),
    "tclsh -encoding utf-8": ("a.tcl", "puts [join $argv { }]"),
    "php -d error_reporting=0": ("a.php", "<?php echo implode(' ', array_slice($argv, 1)), \"\n\";"),
    "guile --no-auto-compile -L lib": ("a.scm", '(display (string-join (cdr (command-line)) " "))'),
    "awk -F : -f": ("a.awk", 'BEGIN { for (i = 1; i < ARGC; i++) printf "%s ", ARGV[i] }'),
    "java -Xmx64m -cp lib": ("A.java", _JAVA),
    "env X=1 nice -n 1 timeout 60 python3": ("a.py", "import sys; print(*sys.argv[1:])"),
    "racket -W error": ("a.rkt", '#lang racket/base\n(for ([a (current-command-line-arguments)]) (printf "~a " a))'),
    "swipl -g main -t halt": ("a.pl", "main :- current_prolog_flag(argv, A), atomic_list_concat(A, ' ', B), write(B)."),
    "sbcl --noinform --script": ("a.lisp", '(format t "~{~a ~}" (cdr *posix-argv*))'),
    "elixir -pa lib": ("a.exs", 'IO.puts(Enum.join(System.argv(), " "))'),
    "gnuplot -d -c": ("a.gp", 'set print "-"; print "".ARG1." ".ARG2." ".ARG3'),
    "octave-cli -q --path lib": ("a.m", "printf('%s ', argv(){:})"),
}  # fmt: skip
CODE = {
    "python3 -uc": "import sys; print(*sys.argv[1:])",
    "perl -we": 'print "@ARGV\n"',
    "bash -ec": 'echo "$@"',
    "ruby -e": "puts ARGV.join(' ')",
    "node -e": "console.log(process.argv.slice(1).join(' '))",
    "Rscript -e": "cat(commandArgs(TRUE))",
    "php -r": "echo implode(' ', array_slice($argv, 1));",
}  # fmt: skip


@pytest.mark.parametrize("words", [*REAL, *CODE])
def test_interpreters_take_the_new_arguments_for_the_scripts(words: str, tmp_path: Path) -> None:
    command = words.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on this machine")
    (tmp_path / "lib").mkdir()
    if words in REAL:
        name, text = REAL[words]
        (tmp_path / name).write_text(text)
        command = [*command, name]
    else:
        command += [CODE[words], *(["sh"] if command[0] == "bash" else [])]
    recorded = [*command, "5", "6"]
    count = kept(recorded)

    def output(*words: str) -> list[str]:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.split() if done.returncode == 0 else ["failed"]

    assert output(*recorded) == ["5", "6"]
    assert output(*recorded[:count], "10", "20", "30") == ["10", "20", "30"]
    assert output(*recorded[: count - 1], "10", "20", "30") != ["10", "20", "30"]
