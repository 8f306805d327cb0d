"""Units: a part of each was used, the whole travels; what is beside it does not."""

from __future__ import annotations

import glob
import os
import subprocess
import sysconfig
from typing import TYPE_CHECKING

import pytest

from closure_support import TraceMaker, trace_for_units, verdict, why, write
from sdee.packer import knowledge
from sdee.packer.units import base, python, resources, system
from sdee.tracer.tracefile.model import Exec

if TYPE_CHECKING:
    from pathlib import Path

STDLIB = sysconfig.get_path("stdlib")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    return trace_for_units(tmp_path, monkeypatch)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "env" / "lib" / "python3.11" / "site-packages"


def test_the_standard_library_is_whole_without_its_tests(made: TraceMaker) -> None:
    made.use(f"{STDLIB}/json/__init__.py")
    closure = made.closure()
    unseen = f"{STDLIB}/xml/dom/minidom.py"
    assert verdict(closure, unseen) == "bundle"
    assert f"{STDLIB}/json/__init__.py Python's standard library" in why(closure, unseen)
    assert verdict(closure, f"{STDLIB}/idlelib/__init__.py") == "nothing"
    assert verdict(closure, f"{STDLIB}/test/__init__.py") == "nothing"
    assert verdict(made.closure(minimal=True), unseen) == "nothing"


def test_what_the_unseen_modules_of_a_unit_need_travels_too(made: TraceMaker) -> None:
    modules = glob.glob(f"{STDLIB}/lib-dynload/_ssl.*.so")
    if not modules:
        pytest.skip("this Python has _ssl built in")
    made.use(f"{STDLIB}/json/__init__.py")
    closure = made.closure()
    assert verdict(closure, modules[0]) == "bundle"
    libraries = [p for p, i in closure.items.items() if "libssl.so" in p and i.verdict.value == "bundle"]
    assert libraries
    assert any(modules[0] in why(closure, p) for p in libraries)


def test_a_distribution_is_whole_by_its_record(made: TraceMaker, site: Path) -> None:
    for name in ("pkg/__init__.py", "pkg/used.py", "pkg/unseen.py", "pkg/tests/test_it.py", "pkg.libs/libx.so"):
        write(site / name)
    write(site / "other" / "__init__.py")
    write(site / "pkg" / "__pycache__" / "unseen.cpython-311.pyc")
    record = "pkg/__init__.py,,\npkg/used.py,,\npkg/unseen.py,,\npkg/tests/test_it.py,,\npkg.libs/libx.so,,\n"
    write(site / "pkg-1.0.dist-info" / "RECORD", record + "../../../bin/tool,,\n../../../../outside,,\npkg/gone.py,,\n")
    write(site / "pkg-1.0.dist-info" / "METADATA")
    tool = write(site.parents[2] / "bin" / "tool", "#!/bin/sh\n", 0o755)
    outside = write(site.parents[3] / "outside")
    made.use(site / "pkg" / "used.py")
    closure = made.closure()
    travels = [
        "pkg/unseen.py",
        "pkg/__pycache__/unseen.cpython-311.pyc",
        "pkg.libs/libx.so",
        "pkg-1.0.dist-info/METADATA",
    ]
    assert {verdict(closure, site / name) for name in travels} == {"bundle"}
    assert verdict(closure, tool) == "bundle"
    stays = [site / "pkg" / "tests" / "test_it.py", site / "other" / "__init__.py", outside, site / "pkg" / "gone.py"]
    assert {verdict(closure, path) for path in stays} == {"nothing"}
    assert "the Python distribution pkg-1.0" in why(closure, site / "pkg" / "unseen.py")


def test_a_tests_directory_that_was_used_travels_as_far_as_it_was_used(made: TraceMaker, site: Path) -> None:
    for name in ("pkg/__init__.py", "pkg/tests/__init__.py", "pkg/tests/data.py"):
        write(site / name)
    write(site / "pkg-1.0.dist-info" / "RECORD", "pkg/__init__.py,,\npkg/tests/__init__.py,,\npkg/tests/data.py,,\n")
    made.use(site / "pkg" / "tests" / "__init__.py")
    closure = made.closure()
    assert verdict(closure, site / "pkg" / "tests" / "__init__.py") == "bundle"
    assert verdict(closure, site / "pkg" / "tests" / "data.py") == "nothing"


def test_a_compiled_module_stands_for_its_source(made: TraceMaker, site: Path) -> None:
    write(site / "pkg" / "__init__.py")
    write(site / "pkg" / "unseen.py")
    write(site / "pkg-1.0.dist-info" / "RECORD", "pkg/__init__.py,,\npkg/unseen.py,,\n")
    made.use(write(site / "pkg" / "__pycache__" / "__init__.cpython-311.pyc"))
    assert verdict(made.closure(), site / "pkg" / "unseen.py") == "bundle"


def test_of_a_namespace_package_only_the_distribution_used_travels(made: TraceMaker, site: Path) -> None:
    write(site / "space" / "one" / "__init__.py")
    write(site / "space" / "one" / "unseen.py")
    write(site / "space" / "two" / "__init__.py")
    write(site / "space_one-1.dist-info" / "RECORD", "space/one/__init__.py,,\nspace/one/unseen.py,,\n")
    made.use(site / "space" / "one" / "__init__.py")
    made.use(write(site / "bare" / "a" / "__init__.py"))  # belongs to no distribution at all
    write(site / "bare" / "a" / "unseen.py")
    write(site / "bare" / "b" / "__init__.py")
    closure = made.closure()
    assert verdict(closure, site / "space" / "one" / "unseen.py") == "bundle"
    assert verdict(closure, site / "bare" / "a" / "unseen.py") == "bundle"
    assert verdict(closure, site / "space" / "two" / "__init__.py") == "nothing"
    assert verdict(closure, site / "bare" / "b" / "__init__.py") == "nothing"


def test_a_package_without_a_record_travels_with_its_metadata(made: TraceMaker, tmp_path: Path) -> None:
    dist = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    made.use(write(dist / "yaml" / "__init__.py"))
    write(dist / "yaml" / "unseen.py")
    write(dist / "PyYAML-6.0.egg-info" / "top_level.txt", "yaml\n_yaml\n")
    write(dist / "other" / "__init__.py")
    closure = made.closure()
    assert verdict(closure, dist / "yaml" / "unseen.py") == "bundle"
    assert verdict(closure, dist / "PyYAML-6.0.egg-info" / "top_level.txt") == "bundle"
    assert verdict(closure, dist / "other" / "__init__.py") == "nothing"


def test_a_module_that_is_one_file_travels_with_its_compiled_form(made: TraceMaker, site: Path) -> None:
    made.use(write(site / "six.py"))
    cached = write(site / "__pycache__" / "six.cpython-311.pyc")
    other = write(site / "__pycache__" / "sixteen.cpython-311.pyc")
    closure = made.closure()
    assert (verdict(closure, cached), verdict(closure, other)) == ("bundle", "nothing")


def test_a_projects_own_package_is_whole_with_its_data(made: TraceMaker, tmp_path: Path) -> None:
    package = tmp_path / "work" / "mine"
    made.use(write(package / "__init__.py"))
    made.use(write(package / "sub" / "__init__.py"))
    code, data = write(package / "unseen.py"), write(package / "input.dat")
    beside = write(tmp_path / "work" / "unrelated.py")
    closure = made.closure()
    assert [verdict(closure, p) for p in (code, data, beside)] == ["bundle", "bundle", "nothing"]


def test_a_virtual_environment_brings_its_marks_and_its_interpreter(made: TraceMaker, site: Path) -> None:
    env = site.parents[2]
    write(env / "pyvenv.cfg", "home = /usr/bin\n")
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python3").symlink_to("/usr/bin/python3")
    (env / "bin" / "python").symlink_to("python3")
    made.use(write(site / "six.py"))
    hook = write(site / "editable.pth", "/somewhere\n")
    closure = made.closure()
    assert verdict(closure, env / "pyvenv.cfg") == "bundle"
    assert closure.items[str(env / "bin" / "python")].kind == "link"
    assert verdict(closure, hook) == "bundle"
    assert verdict(closure, os.path.realpath("/usr/bin/python3")) == "bundle"


def test_perls_core_library_is_whole_and_other_modules_bring_theirs(made: TraceMaker, tmp_path: Path) -> None:
    core = tmp_path / "usr" / "share" / "perl" / "5.36.0"
    made.use(write(core / "strict.pm"))
    unseen = write(core / "unicore" / "Name.pl")
    share, arch = tmp_path / "usr" / "share" / "perl5", tmp_path / "usr" / "lib" / "x86_64-linux-gnu" / "perl5" / "5.36"
    made.use(write(share / "JSON.pm"))
    made.use(write(arch / "JSON" / "XS.pm"))
    loaded = write(arch / "auto" / "JSON" / "XS" / "XS.so")
    beside = write(share / "JSON" / "PP.pm")
    other = write(share / "YAML.pm")
    closure = made.closure()
    assert [verdict(closure, p) for p in (unseen, loaded, beside)] == ["bundle"] * 3
    assert verdict(closure, other) == "nothing"


def test_all_of_perls_core_directories_travel_when_one_was_used(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    arch = usr / "lib" / "x86_64-linux-gnu"
    made.use(write(arch / "perl-base" / "strict.pm"))
    unseen = [write(usr / "share" / "perl" / "5.36.0" / "Memoize.pm"), write(arch / "perl" / "5.36.0" / "B.pm")]
    for home in (usr / "share" / "perl", arch / "perl"):
        (home / "5.36").symlink_to("5.36.0")
    other = write(usr / "share" / "perl" / "5.36.0" / "pod" / "perl.pod")
    links = [arch / "perl" / "5.36", usr / "share" / "perl" / "5.36"]
    closure = made.closure()
    assert {verdict(closure, p) for p in (*unseen, *links)} == {"bundle"}
    assert verdict(closure, other) == "nothing"
    assert verdict(made.closure(minimal=True), unseen[0]) == "nothing"


def test_gconv_and_locale_directories_are_whole(made: TraceMaker, tmp_path: Path) -> None:
    gconv = tmp_path / "usr" / "lib" / "x86_64-linux-gnu" / "gconv"
    locale = tmp_path / "usr" / "lib" / "locale"
    made.use(write(gconv / "UTF-16.so"))
    made.use(write(locale / "de_DE.utf8" / "LC_CTYPE"))
    unseen = [write(gconv / "gconv-modules"), write(gconv / "EUC-JP.so"), write(locale / "de_DE.utf8" / "LC_TIME")]
    unseen.append(write(locale / "fr_FR.utf8" / "LC_TIME"))
    closure = made.closure()
    assert {verdict(closure, p) for p in unseen} == {"bundle"}


def test_of_many_locales_only_those_that_were_used_travel(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_LOCALES_LIMIT", 10)
    locale = tmp_path / "own" / "locales"
    made.use(write(locale / "de_DE" / "LC_CTYPE"))
    beside, other = write(locale / "de_DE" / "LC_TIME"), write(locale / "fr_FR" / "LC_TIME", "x" * 11)
    closure = made.closure()
    assert [verdict(closure, p) for p in (beside, other)] == ["bundle", "nothing"]


def test_a_locale_below_home_is_no_input_data(made: TraceMaker, tmp_path: Path) -> None:
    used = made.use(write(tmp_path / "work" / "locales" / "de_DE.UTF-8" / "LC_MESSAGES" / "SYS_LC_MESSAGES"))
    assert verdict(made.closure(), used) == "bundle"


def test_certificates_travel_with_what_they_link_to(made: TraceMaker) -> None:
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    if not os.path.exists(bundle):
        pytest.skip("no CA certificates here")
    made.use(bundle)
    closure = made.closure()
    links = [p for p in glob.glob("/etc/ssl/certs/*.pem") if os.path.islink(p) and os.path.exists(p)]
    assert links
    assert {verdict(closure, p) for p in links} == {"bundle"}
    assert {verdict(closure, os.path.realpath(p)) for p in links} == {"bundle"}


def test_a_java_home_is_whole_with_its_configuration_elsewhere(made: TraceMaker, tmp_path: Path) -> None:
    home = tmp_path / "usr" / "lib" / "jvm" / "java-17"
    made.use(write(home / "lib" / "server" / "libjvm.so"))
    write(home / "bin" / "java")
    unseen = [write(home / "lib" / "modules"), write(tmp_path / "etc" / "java-17" / "security" / "java.security")]
    (home / "conf").symlink_to(tmp_path / "etc" / "java-17")
    stays = [write(home / "jmods" / "java.base.jmod"), write(home / "lib" / "src.zip")]
    closure = made.closure()
    assert {verdict(closure, p) for p in unseen} == {"bundle"}
    assert closure.items[str(home / "conf")].kind == "link"
    assert {verdict(closure, p) for p in stays} == {"nothing"}


def test_a_programs_resources_are_whole_and_common_directories_are_not(made: TraceMaker, tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "gromacs"
    made.execute(write(prefix / "bin" / "gmx", "#!/bin/sh\n", 0o755))
    made.use(write(prefix / "share" / "gromacs" / "top" / "used.itp"))
    made.use(write(prefix / "share" / "doc" / "used"))
    unseen, common = (
        write(prefix / "share" / "gromacs" / "top" / "unseen.itp"),
        write(prefix / "share" / "doc" / "unseen"),
    )
    foreign = tmp_path / "elsewhere" / "share" / "gromacs"
    made.use(write(foreign / "used"))
    alien = write(foreign / "unseen")
    closure = made.closure()
    assert verdict(closure, unseen) == "bundle"
    assert verdict(closure, common) == "nothing"
    assert verdict(closure, alien) == "nothing"


def test_of_a_unit_that_is_too_large_the_smallest_files_travel_and_the_rest_is_said(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "LIMIT", 100)
    prefix = tmp_path / "opt" / "big"
    made.execute(write(prefix / "bin" / "big", "#!/bin/sh\n", 0o755))
    used = write(prefix / "share" / "big" / "used", b"x" * 300)
    made.use(used)
    small = [write(prefix / "share" / "big" / name, b"x" * 30) for name in ("a", "z")]
    large = write(prefix / "share" / "big" / "maps" / "large", b"x" * 200)
    closure = made.closure()
    assert [verdict(closure, p) for p in (used, *small, large)] == ["bundle"] * 3 + ["nothing"]
    (said,) = [text for text in closure.warnings if "the resources of big" in text]
    assert "is larger than 0 MB" in said
    assert f"--include '{prefix}/share/big/maps'" in said


def test_no_part_of_a_distribution_is_left_out_however_large(
    made: TraceMaker, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = write(site / "pkg" / "unseen.py")
    os.truncate(unseen, base.DEFAULT_LIMIT + 1)  # all of it a hole
    write(site / "pkg-1.0.dist-info" / "RECORD", "pkg/__init__.py,,\npkg/unseen.py,,\n")
    monkeypatch.setattr(knowledge, "SHARED_LIMIT", 2 * base.DEFAULT_LIMIT)
    made.use(write(site / "pkg" / "__init__.py"))
    assert verdict(made.closure(), unseen) == "bundle"
    monkeypatch.setattr(python, "_UNLIMITED", base.DEFAULT_LIMIT)
    assert verdict(made.closure(), unseen) == "nothing"


def test_a_distribution_brings_what_it_requires_and_what_that_requires(made: TraceMaker, site: Path) -> None:
    for name, requires in (("one", "Two-More>=1"), ("two_more", "three; python_version>='3'"), ("three", "")):
        write(site / name / "__init__.py")
        write(site / f"{name}-1.0.dist-info" / "RECORD", f"{name}/__init__.py,,\n")
        lines = f"Requires-Dist: {requires}\n" if requires else ""
        lines += "Requires-Dist: extra_one; extra == 'all'\nRequires-Dist: old; python_version < '3'\n"
        write(site / f"{name}-1.0.dist-info" / "METADATA", f"Name: {name}\n{lines}\nRequires-Dist: not-a-field\n")
    for name in ("extra_one", "old"):
        write(site / name / "__init__.py")
        write(site / f"{name}-1.0.dist-info" / "RECORD", f"{name}/__init__.py,,\n")
    made.use(site / "one" / "__init__.py")
    closure = made.closure()
    names = ("one", "two_more", "three", "extra_one", "old")
    assert [verdict(closure, site / n / "__init__.py") for n in names] == ["bundle"] * 3 + ["nothing"] * 2
    source = f"{site}/two_more-1.0.dist-info the Python distribution three-1.0"
    assert source in why(closure, site / "three" / "__init__.py")


def test_what_a_distribution_imports_somewhere_travels_while_it_is_small(
    made: TraceMaker, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python, "_IMPORTED_EACH", 100)
    write(site / "one-1.0.dist-info" / "RECORD", "one/__init__.py,,\none/lazy.py,,\none/tests/test_x.py,,\n")
    write(site / "one" / "lazy.py", "def f():\n    import small, large.part\n    from alone import x\n")
    write(site / "one" / "tests" / "test_x.py", "import testing_only\n")
    for name in ("small", "large", "testing_only", "unrelated"):
        write(site / name / "__init__.py", "x" * (101 if name == "large" else 1))
    write(site / "alone.py")
    made.use(write(site / "one" / "__init__.py"))
    closure = made.closure()
    assert verdict(closure, site / "small" / "__init__.py") == "bundle"
    assert verdict(closure, site / "alone.py") == "bundle"
    others = [site / name / "__init__.py" for name in ("large", "testing_only", "unrelated")]
    assert {verdict(closure, p) for p in others} == {"nothing"}


def test_a_programs_own_directories_travel_by_their_name(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    made.execute(write(usr / "bin" / "tool", "#!/bin/sh\n", 0o755))
    made.use(write(usr / "lib" / "x86_64-linux-gnu" / "tool-6" / "plugins" / "png.so"))
    made.use(write(usr / "share" / "tool" / "table"))
    made.use(write(usr / "lib" / "x86_64-linux-gnu" / "blas" / "libblas.so.3"))
    unseen = [
        write(usr / "lib" / "x86_64-linux-gnu" / "tool-6" / "plugins" / "bmp.so"),
        write(usr / "share" / "tool" / "other" / "table"),
        write(usr / "libexec" / "tool" / "helper", "#!/bin/sh\n", 0o755),
        write(usr / "lib" / "tool" / "more"),
    ]
    others = [
        write(usr / "lib" / "x86_64-linux-gnu" / "tool-6" / "libplugins.a"),
        write(usr / "lib" / "x86_64-linux-gnu" / "other" / "x.so"),
        write(usr / "lib" / "x86_64-linux-gnu" / "blas" / "unrelated"),
    ]
    closure = made.closure()
    assert [verdict(closure, p) for p in unseen] == ["bundle"] * 4
    assert [verdict(closure, p) for p in others] == ["nothing"] * 3


def test_a_launcher_brings_what_it_starts_on_other_nodes(made: TraceMaker, tmp_path: Path) -> None:
    programs = ("orterun", "orted", "orte-clean", "mpiexec.hydra", "hydra_pmi_proxy", "prte", "prted")
    paths = {name: write(tmp_path / "mpi" / "bin" / name, "#!/bin/sh\n", 0o755) for name in programs}
    proxy = write(tmp_path / "mpi" / "libexec" / "hydra_bstrap_proxy", "#!/bin/sh\n", 0o755)
    (tmp_path / "mpirun").symlink_to("mpi/bin/orterun")
    made.execute(tmp_path / "mpirun")
    made.execute(paths["mpiexec.hydra"])
    closure = made.closure()
    daemons = [paths["orted"], paths["hydra_pmi_proxy"], proxy]
    assert [verdict(closure, path) for path in daemons] == ["bundle"] * 3
    assert "what orterun starts on other nodes" in why(closure, paths["orted"])
    assert [verdict(closure, paths[name]) for name in ("orte-clean", "prte", "prted")] == ["nothing"] * 3
    assert [verdict(made.closure(minimal=True), path) for path in daemons] == ["nothing"] * 3


def test_another_file_stands_for_what_a_launcher_starts_its_daemons_with(made: TraceMaker, tmp_path: Path) -> None:
    launcher = write(tmp_path / "bin" / "orterun", "#!/bin/sh\n", 0o755)
    real = write(tmp_path / "slurm" / "srun", "the job manager's", 0o755)
    (tmp_path / "bin" / "srun").symlink_to(real)
    own = write(tmp_path / "front", "sdee's own, longer", 0o755)
    stand_ins = ((str(tmp_path / "bin" / "srun"), str(own)),)
    made.execute("/usr/bin/true")
    assert verdict(made.closure(stand_ins=stand_ins), real) == "nothing"
    made.execute(launcher)
    closure = made.closure(stand_ins=stand_ins)
    item = closure.items[str(real)]
    assert (item.verdict.value, item.origin, item.size) == ("bundle", str(own), own.stat().st_size)
    assert "sdee's own there" in why(closure, real)
    assert closure.items[str(tmp_path / "bin" / "srun")].target == str(real)
    assert verdict(made.closure(), real) == "nothing"


def test_r_is_whole_and_of_its_site_library_what_was_loaded_with_its_imports(made: TraceMaker, tmp_path: Path) -> None:
    home = tmp_path / "usr" / "lib" / "R"
    made.use(write(home / "lib" / "libR.so"))
    base = write(home / "library" / "splines" / "R" / "splines.rdb")
    library = tmp_path / "home" / "R" / "x86_64-pc-linux-gnu-library" / "4.2"
    site = home / "site-library"
    texts = {"plots": "Depends: R (>= 3), scales\nImports: colours,\n  units (>= 1)\nLinkingTo: headers\n"}
    for place, names in ((site, ("plots", "scales", "unrelated", "headers")), (library, ("colours", "units"))):
        for name in names:
            write(place / name / "DESCRIPTION", f"Package: {name}\n{texts.get(name, '')}")
            write(place / name / "libs" / f"{name}.so")
    made.use(site / "plots" / "libs" / "plots.so")
    made.use(library / "units" / "DESCRIPTION")
    closure = made.closure()
    travels = {n: verdict(closure, site / n / "libs" / f"{n}.so") for n in ("plots", "scales", "unrelated", "headers")}
    assert travels == {"plots": "bundle", "scales": "bundle", "unrelated": "nothing", "headers": "nothing"}
    assert {verdict(closure, library / n / "libs" / f"{n}.so") for n in ("colours", "units")} == {"bundle"}
    assert verdict(closure, base) == "bundle"


def test_a_nodejs_project_travels_with_its_node_modules(made: TraceMaker, tmp_path: Path) -> None:
    app = tmp_path / "opt" / "app"
    write(app / "package.json", '{"name": "app"}')
    made.use(write(app / "main.js"))
    made.use(write(app / "node_modules" / "used" / "index.js"))
    unseen = [write(app / "other.mjs"), write(app / "node_modules" / "@scope" / "unseen" / "index.js")]
    data = write(app / "results.csv")
    closure = made.closure()
    assert {verdict(closure, p) for p in unseen} == {"bundle"}
    assert verdict(closure, data) == "nothing"


def test_header_files_come_by_package_and_cxx_headers_whole(made: TraceMaker) -> None:
    made.use("/usr/include/stdio.h")
    closure = made.closure()
    assert verdict(closure, "/usr/include/wctype.h") == "bundle"
    assert verdict(closure, "/usr/lib/x86_64-linux-gnu/crt1.o") == "bundle"
    assert "the development package libc6-dev" in why(closure, "/usr/include/wctype.h")
    # <limits.h> includes it, and it is another package's
    assert "the development package linux-libc-dev" in why(closure, "/usr/include/linux/limits.h")
    assert closure.items["/usr/include/stdio.h"].package.startswith("libc6-dev ")


def test_what_the_c_library_looks_for_travels_with_it(made: TraceMaker) -> None:
    made.use("/usr/bin/true")
    shell, zone = os.path.realpath("/bin/sh"), "/usr/share/zoneinfo/Asia/Tokyo"
    assert {verdict(made.closure(), p) for p in (shell, zone)} == {"nothing"}
    made.use("/lib/x86_64-linux-gnu/libc.so.6")
    assert {verdict(made.closure(), p) for p in (shell, "/etc/services")} == {"bundle"}
    assert verdict(made.closure(), zone) == "nothing"
    assert "what the C library looks for" in why(made.closure(), shell)
    assert verdict(made.closure(minimal=True), shell) == "nothing"


@pytest.mark.parametrize("used", ["/etc/localtime", "/usr/bin/perl", os.path.realpath("/usr/bin/python3")])
def test_time_zones_travel_where_a_time_may_be_asked_for(made: TraceMaker, used: str) -> None:
    made.use("/lib/x86_64-linux-gnu/libc.so.6")
    made.use(used)
    closure = made.closure()
    assert verdict(closure, "/usr/share/zoneinfo/Asia/Tokyo") == "bundle"
    assert verdict(closure, "/usr/share/zoneinfo/right/Asia/Tokyo") == "nothing"


def test_time_zones_travel_with_a_program_that_looks_them_up_itself(made: TraceMaker, tmp_path: Path) -> None:
    source = write(tmp_path / "main.c", 'const char *p = "x/usr/share/zoneinfo/"; int main(void) { return *p != 120; }')
    for name, text in (("with", source.read_text()), ("without", "int main(void) { return 0; }")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        command = ["gcc", "-nostdlib", "-static", "-Wl,-emain", "-x", "c", "-", "-o", str(program)]
        subprocess.run(command, input=text, text=True, check=True)
        made.execs.clear()
        made.execute(program)
        zone = verdict(made.closure(), "/usr/share/zoneinfo/Asia/Tokyo")
        assert zone == ("bundle" if name == "with" else "nothing"), name


def test_certificates_travel_with_a_library_for_tls(made: TraceMaker) -> None:
    made.use("/usr/lib/x86_64-linux-gnu/libssl.so.3")
    assert verdict(made.closure(), "/etc/ssl/certs/ca-certificates.crt") == "bundle"


SCRIPT = """#!/bin/sh
# gzip is for people
trap 'cksum out' USR1
[ -e checkpoint ] || exit
DATA=$(tool-of-ours --tac | base64) "$shuf" ./nl /usr/bin/comm srun
"""


def test_programs_that_a_script_names_travel_though_the_run_did_not_come_to_them(
    made: TraceMaker, tmp_path: Path
) -> None:
    tool = write(tmp_path / "bin" / "tool-of-ours", "#!/usr/bin/perl -w\n", 0o755)
    srun = write(tmp_path / "bin" / "srun", "#!/bin/sh\n", 0o755)
    script = write(tmp_path / "work" / "job.sh", SCRIPT, 0o755)
    made.env["PATH"] = f"{tmp_path}/bin::/usr/bin:/bin"
    made.execute(script, "/bin/sh")
    made.execs.append(Exec(1, "/bin/dash", ("sh", "-ec", "exit 3; nproc"), (), None, setid=False))
    closure = made.closure()
    programs = [f"/usr/bin/{name}" for name in ("cksum", "base64", "comm", "perl", "nproc")]
    assert {verdict(closure, path) for path in (*programs, str(tool))} == {"bundle"}
    assert f"belongs to {script} programs that a script names" in why(closure, "/usr/bin/cksum")
    others = [f"/usr/bin/{name}" for name in ("gzip", "shuf", "tac", "nl")]
    assert {verdict(closure, path) for path in (*others, str(srun))} == {"nothing"}
    assert verdict(made.closure(minimal=True), "/usr/bin/cksum") == "nothing"
    travelling = [item.path for item in closure.travelling()]
    assert [path for path in travelling if path.endswith("/strict.pm")], "Perl without its library"
    assert not [path for path in travelling if path.endswith("/os.py")]
    script.write_text("#!/bin/sh\n[ $# -eq 0 ] || python3 -c 'import json'\n")
    travelling = [item.path for item in made.closure().travelling()]
    assert [path for path in travelling if path.endswith("/json/__init__.py")], "Python without its library"
