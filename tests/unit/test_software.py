"""Software directories: whole in the bundle, and nothing of the node's in them; data directories stay the node's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from closure_support import TraceMaker, conf, verdict, why, write
from sdee.packer import knowledge
from sdee.packer.closure import whole

ELF = Path("/usr/bin/true").read_bytes()
TOKEN = "token: ghp_" + "a1B2" * 9 + "\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    """A trace of a job in tmp_path/home/work, whose user has the home tmp_path/home."""
    monkeypatch.setattr(knowledge, "TEMPORARY_ROOTS", ())
    (tmp_path / "home" / "work").mkdir(parents=True)
    return TraceMaker(str(tmp_path / "home" / "work"), str(tmp_path / "home"))


@pytest.fixture
def home(made: TraceMaker) -> Path:
    return Path(made.home)


def test_a_virtual_environment_is_whole_with_what_the_run_did_not_import(made: TraceMaker, home: Path) -> None:
    env = home / "work" / "env"
    write(env / "pyvenv.cfg")
    site = env / "lib" / "python3.11" / "site-packages"
    made.use(write(site / "used" / "__init__.py"))
    unseen = [write(site / "unseen" / "__init__.py"), write(site / "hook.pth"), write(env / "bin" / "tool", ELF, 0o755)]
    closure = made.closure()
    assert {verdict(closure, path) for path in unseen} == {"bundle"}
    assert conf(closure, "tree") == [str(env)]
    assert conf(closure, "left-out") == []


def test_what_is_too_large_and_was_not_used_stays_the_nodes(made: TraceMaker, home: Path) -> None:
    made.software_limit = 1000
    site = home / "env" / "lib" / "python3.11" / "site-packages"
    made.use(write(site / "used" / "__init__.py"))
    small, large = write(site / "small" / "a.py"), write(site / "large" / "b.py", b"x" * 1001)
    closure = made.closure()
    assert [verdict(closure, path) for path in (small, large)] == ["bundle", "nothing"]
    assert conf(closure, "tree") == [str(site)]
    assert conf(closure, "left-out") == [str(large.parent)]
    assert any("the bundle lacks" in text and str(site) in text for text in closure.warnings)


def test_a_directory_of_which_too_much_would_be_left_out_is_merged_with_the_nodes(
    made: TraceMaker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_LEFT_OUT_LIMIT", 2)
    made.software_limit = 10
    app = made.execute(write(home / "tool" / "app", ELF, 0o755))
    for number in range(3):
        write(home / "tool" / f"large{number}", b"x" * 11)
    closure = made.closure()
    assert verdict(closure, app) == "bundle"
    assert (conf(closure, "tree"), conf(closure, "left-out")) == ([], [])


def test_a_plug_in_beside_the_one_that_was_loaded_travels(made: TraceMaker, home: Path) -> None:
    plugins = home / "work" / "plug"
    made.use(plugins, "list")
    made.use(write(plugins / "a.so", ELF))
    other = write(plugins / "b.so", ELF)
    closure = made.closure()
    assert verdict(closure, other) == "bundle"
    assert conf(closure, "tree") == [str(plugins)]


def test_a_directory_of_data_with_a_library_in_it_stays_data(made: TraceMaker, home: Path) -> None:
    mixed = home / "work" / "mixed"
    made.use(write(mixed / "a.so", ELF))
    data = made.use(write(mixed / "input.csv"))
    other = write(mixed / "b.so", ELF)
    closure = made.closure()
    assert [verdict(closure, path) for path in (data, other)] == ["shared", "nothing"]
    assert conf(closure, "tree") == []


def test_what_a_program_reads_from_its_own_directory_is_the_programs(made: TraceMaker, home: Path) -> None:
    script = write(home / "tool" / "main.py", "print()\n")
    made.execute("/usr/bin/python3")
    made.execs[-1] = made.execs[-1].__class__(1, "/usr/bin/python3", ("python3", str(script)), (), None, setid=False)
    made.use(script)
    settings = made.use(write(home / "tool" / "SETTINGS"))
    unseen = write(home / "tool" / "share" / "table.dat")
    closure = made.closure()
    assert [verdict(closure, path) for path in (settings, unseen)] == ["bundle", "bundle"]
    assert f"lies in the directory of {script}" in why(closure, settings)
    assert conf(closure, "tree") == [str(home / "tool")]
    assert conf(closure, "fallback") == []


def test_what_the_command_line_names_is_data_wherever_it_lies(made: TraceMaker, home: Path) -> None:
    program = made.execute(write(home / "tool" / "app", ELF, 0o755))
    data = made.use(write(home / "tool" / "input.csv"))
    other = write(home / "tool" / "other.csv")
    made.command = (program, f"--input={data}")
    closure = made.closure()
    assert [verdict(closure, path) for path in (data, other)] == ["shared", "bundle"]
    assert conf(closure, "tree") == [str(home / "tool")]
    assert conf(closure, "left-out") == [data]


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [
        ("python3", ["-u", "job", "data"], ("bundle", "shared")),
        ("racket", ["job", "data"], ("bundle", "shared")),
        ("bash", ["job", "data"], ("bundle", "shared")),
        ("cat", ["job", "data"], ("shared", "shared")),
    ],
)
def test_what_an_interpreter_is_given_to_run_is_code_whatever_its_name(
    made: TraceMaker, home: Path, program: str, words: list[str], expected: tuple[str, str]
) -> None:
    made.command = (program, *words)
    made.execute(write(home.parent / "bin" / program, ELF, 0o755))
    made.execs[-1] = replace(made.execs[-1], argv=(program, *words))
    paths = [made.use(write(home / "work" / name, b"text\n")) for name in ("job", "data")]
    closure = made.closure()
    assert tuple(verdict(closure, path) for path in paths) == expected


def test_a_programs_directory_that_the_job_writes_in_is_data_too(made: TraceMaker, home: Path) -> None:
    made.execute(write(home / "tool" / "app", ELF, 0o755))
    settings = made.use(write(home / "tool" / "SETTINGS"))
    made.use(home / "tool" / "results", "create", "write", existed=False)
    closure = made.closure()
    assert verdict(closure, settings) == "bundle"
    assert conf(closure, "tree") == []
    assert conf(closure, "fallback") == [settings]


def test_a_cache_of_compiled_code_makes_no_data_directory(made: TraceMaker, home: Path) -> None:
    made.execute(write(home / "tool" / "app", ELF, 0o755))
    made.use(home / "tool" / "__pycache__", "create", existed=False)
    made.use(home / "tool" / "__pycache__" / "m.pyc", "create", "write", existed=False)
    assert conf(made.closure(), "tree") == [str(home / "tool")]


def test_results_below_a_programs_directory_stay_the_nodes(made: TraceMaker, home: Path) -> None:
    made.execute(write(home / "tool" / "app", ELF, 0o755))
    old = write(home / "tool" / "out" / "1.dat")
    made.use(write(home / "tool" / "out" / "2.dat"), "create", "write", existed=False)
    closure = made.closure()
    assert verdict(closure, old) == "nothing"
    assert conf(closure, "tree") == [str(home / "tool")]
    assert str(home / "tool" / "out") in conf(closure, "left-out")


def test_a_directory_around_the_working_directory_is_no_software(made: TraceMaker, home: Path) -> None:
    project = home / "project"
    made.cwd = str(project / "run")
    Path(made.cwd).mkdir(parents=True)
    made.execute(write(project / "app", ELF, 0o755))
    data = made.use(write(project / "input.dat"))
    closure = made.closure()
    assert verdict(closure, data) == "shared"
    assert conf(closure, "tree") == []


@pytest.mark.parametrize("place", [".", "work"])
def test_scripts_in_the_home_and_in_the_working_directory_have_no_directory_of_their_own(
    made: TraceMaker, home: Path, place: str
) -> None:
    made.execute(write(home / place / "run.sh", "#!/bin/sh\n", 0o755), "/bin/sh")
    data = made.use(write(home / place / "input.dat"))
    closure = made.closure()
    assert verdict(closure, data) == "shared"
    assert conf(closure, "tree") == []


def test_a_missing_directory_of_the_users_modules_stays_missing(made: TraceMaker, home: Path) -> None:
    site = home / ".local" / "lib" / "python3.11" / "site-packages"
    made.use(site, "probe", existed=False)
    extra = home / "extra"
    made.env["PYTHONPATH"] = f"{extra}:{home}/never-looked-at"
    made.use(extra, "probe", existed=False)
    closure = made.closure()
    assert conf(closure, "tree") == [str(site), str(extra)]
    assert {closure.items[str(path)].kind for path in (site, extra)} == {"dir"}
    assert str(site) not in conf(closure, "looked-for")


def test_a_searched_directory_of_modules_is_whole_and_one_of_programs_only_when_used(
    made: TraceMaker, home: Path
) -> None:
    modules, programs = home / "lib" / "perl", home / "scripts"
    unseen, program = write(modules / "Unseen.pm"), write(programs / "app", ELF, 0o755)
    made.env.update(PERL5LIB=str(modules), PATH=f"{programs}:/usr/bin")
    made.use(modules / "Missing.pm", "probe", existed=False)
    made.use(programs / "ls", "probe", existed=False)
    closure = made.closure()
    assert [verdict(closure, path) for path in (unseen, program)] == ["bundle", "nothing"]
    assert conf(closure, "tree") == [str(modules)]
    made.execute(program)
    assert conf(made.closure(), "tree") == [str(modules), str(programs)]


def test_secrets_and_histories_in_software_that_nobody_used_stay_without_a_word(made: TraceMaker, home: Path) -> None:
    made.execute(write(home / "tool" / "app", ELF, 0o755))
    secret, history = write(home / "tool" / "notes.txt", TOKEN), write(home / "tool" / ".git" / "HEAD")
    closure = made.closure()
    assert [verdict(closure, path) for path in (secret, history)] == ["nothing", "nothing"]
    assert str(secret) in conf(closure, "left-out")
    assert not any("notes.txt" in text for text in closure.warnings)


def test_headers_and_tests_of_packages_neither_travel_nor_show(made: TraceMaker, home: Path) -> None:
    site = home / "env" / "lib" / "python3.11" / "site-packages"
    write(home / "env" / "pyvenv.cfg")
    made.use(write(site / "used" / "__init__.py"))
    for path in (site / "used" / "tests" / "test_a.py", home / "env" / "include" / "a.h"):
        write(path)
    closure = made.closure()
    assert conf(closure, "unused") == [str(home / "env" / "include"), str(site / "used" / "tests")]
    assert conf(closure, "left-out") == []
    assert verdict(closure, site / "used" / "tests") == "nothing"


def test_links_in_software_travel_as_they_are(made: TraceMaker, home: Path) -> None:
    made.execute(write(home / "tool" / "app", ELF, 0o755))
    write(home / "far" / "many" / "file")
    for name, target in (("to-directory", "../far"), ("to-nothing", "nowhere"), ("to-file", "../far/many/file")):
        (home / "tool" / name).symlink_to(target)
    closure = made.closure()
    assert closure.items[str(home / "tool" / "to-directory")].target == "../far"
    assert closure.items[str(home / "tool" / "to-nothing")].target == "nowhere"
    assert verdict(closure, home / "far" / "many" / "file") == "bundle"
    assert verdict(closure, home / "far" / "many") == "bundle"  # it holds the file


def test_minimal_keeps_to_what_was_used_and_shows_nothing_else(made: TraceMaker, home: Path) -> None:
    made.execute(write(home / "tool" / "app", ELF, 0o755))
    unseen = write(home / "tool" / "unseen")
    closure = made.closure(minimal=True)
    assert verdict(closure, unseen) == "nothing"
    assert conf(closure, "tree") == [str(home / "tool")]
    assert conf(closure, "left-out") == []


def test_a_modulefile_is_software_and_so_are_the_installations_that_its_directory_names(
    made: TraceMaker, home: Path
) -> None:
    module = made.use(write(home / "work" / "gcc-12", "#%Module1.0\nprepend-path PATH /opt/gcc\n"))
    made.env["MODULEPATH"] = str(home / "modulefiles")
    made.use(write(home / "modulefiles" / "conv" / "1.0", f"#%Module\nset root {home}/apps/conv/1.0\n"))
    other = write(home / "modulefiles" / "conv" / "2.0", "#%Module\nset root $env(HOME)/apps/conv/2.0\n")
    program, factor = write(home / "apps/conv/2.0/bin/conv", ELF, 0o755), write(home / "apps/conv/2.0/share/factor")
    unnamed = write(home / "apps/conv/3.0/bin/conv", ELF, 0o755)
    closure = made.closure()
    assert {verdict(closure, path) for path in (module, other, program, factor)} == {"bundle"}
    assert verdict(closure, unnamed) == "nothing"
    assert verdict(made.closure(minimal=True), program) == "nothing"


def test_what_a_program_keeps_in_the_home_travels_whole(made: TraceMaker, home: Path) -> None:
    """Modules of jq, Octave's index of packages, an editor's plug-ins: text, and no input of the job."""
    used = [
        made.use(write(home / ".tool" / "module.text")),
        made.use(write(home / ".config" / "app" / "settings")),
        made.use(write(home / ".local" / "share" / "app" / "index")),
    ]
    beside = [write(home / ".tool" / "other.text"), write(home / ".local" / "share" / "app" / "more" / "file")]
    elsewhere = write(home / ".local" / "share" / "other" / "file")
    closure = made.closure()
    assert {verdict(closure, path) for path in (*used, *map(str, beside))} == {"bundle"}
    assert verdict(closure, elsewhere) == "nothing"
    assert conf(closure, "tree") == sorted(str(Path(path).parent) for path in used)
    assert conf(closure, "fallback") == []


def test_caches_and_large_data_in_the_home_stay(made: TraceMaker, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "KEPT_LIMIT", 100)
    cached = made.use(write(home / ".cache" / "app" / "compiled"))
    large = made.use(write(home / ".models" / "weights", b"x" * 101))
    made.use(write(home / ".models" / "small"))
    closure = made.closure()
    assert [verdict(closure, path) for path in (cached, large)] == ["shared", "shared"]
    assert conf(closure, "left-out") == [large]


def test_settings_in_the_home_travel_with_the_programs_that_read_them(made: TraceMaker, home: Path) -> None:
    settings = made.use(write(home / ".gitconfig"))
    state = made.use(write(home / ".app" / "state"), "read", "write")
    history = made.use(write(home / ".bash_history"))
    closure = made.closure()
    assert [verdict(closure, path) for path in (settings, history)] == ["bundle", "secret"]
    assert verdict(closure, state) in ("bundle", "shared")
    assert settings not in conf(closure, "fallback")  # a job of another home would run with other settings
    assert conf(closure, "tree") == []


def test_the_prefix_of_a_program_in_bin_travels_with_its_share(made: TraceMaker, home: Path) -> None:
    prefix = home / "apps" / "conv" / "1.0"
    made.execute(write(prefix / "bin" / "conv", ELF, 0o755))
    factor, unseen = made.use(write(prefix / "share" / "factor")), write(prefix / "share" / "table")
    closure = made.closure()
    assert [verdict(closure, path) for path in (factor, unseen)] == ["bundle", "bundle"]
    assert conf(closure, "tree") == [str(prefix)]
