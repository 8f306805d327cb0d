"""Which of the host's packages go along where nobody knows what a job will run."""

from __future__ import annotations

from sdee.workflow.transparent.host_packages import files, needed

STATUS = """Package: base
Status: install ok installed
Essential: yes
Pre-Depends: libbase (>= 1)

Package: libbase
Status: install ok installed

Package: app
Status: install ok installed
Depends: libmpi3:any (>= 4.1) | libmpich, virtual,
 ignored
Recommends: viewer

Package: libmpi3
Status: install ok installed
Depends: app

Package: provider
Status: hold ok installed
Provides: virtual (= 1), other

Package: libmpich
Status: deinstall ok config-files

Package: viewer
Status: install ok installed
"""


def test_a_package_goes_along_with_all_that_it_depends_on_and_the_essential_ones_always() -> None:
    assert needed(STATUS, ["app", "gone"]) == {"base", "libbase", "app", "libmpi3", "provider"}
    assert needed(STATUS, []) == {"base", "libbase"}


def test_what_one_types_is_found_with_the_links_of_alternatives() -> None:
    found = set(files())
    assert {"/bin/ls", "/usr/bin/ls"} & found
    assert "/usr/bin/awk" in found
    assert "/usr/sbin/slurmctld" not in found
