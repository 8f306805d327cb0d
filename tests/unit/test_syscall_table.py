"""The system-call table against the kernel's headers, and the filter against the table."""

from __future__ import annotations

import os
import re

import pytest

from sdee.base import facts
from sdee.tracer.engine import bpf
from sdee.tracer.syscalls import (
    AT_EMPTY_PATH,
    AUDIT_ARCH_AARCH64,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    CALLS,
    FSTAT_FORMS,
    HIGHEST_KNOWN,
    X32_SYSCALL_BIT,
)

ASM = "/usr/include/x86_64-linux-gnu/asm"
HEADERS = {
    "x86-64": (f"{ASM}/unistd_64.h", AUDIT_ARCH_X86_64, 0),
    "x32": (f"{ASM}/unistd_x32.h", AUDIT_ARCH_X86_64, X32_SYSCALL_BIT),
    "i386": (f"{ASM}/unistd_32.h", AUDIT_ARCH_I386, 0),
    "aarch64": ("/usr/include/asm-generic/unistd.h", AUDIT_ARCH_AARCH64, 0),
}
# From the kernel's scripts/syscall.tbl, common to all ABIs, for headers older than Linux 6.17
NEW = {"fchmodat2": 452, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465, "removexattrat": 466}
NEW |= {"open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469}
LIKE_PATH = re.compile(
    r"open|stat(?!x?ed)|link|access|exec|chdir|chroot|mount|rename|mk(dir|nod)|rmdir|truncate|xattr|chmod|chown|utime|pivot"
)
# Names that look like path calls and take descriptors (or nothing) only
NO_PATH = {
    *("fstat", "fstat64", "oldfstat", "fstatfs", "fstatfs64", "ustat", "statmount", "listmount", "fsmount", "fsopen"),
    *(
        "ftruncate",
        "ftruncate64",
        "fchmod",
        "fchown",
        "fchown32",
        "fsetxattr",
        "fgetxattr",
        "flistxattr",
        "fremovexattr",
    ),
    *(
        "mq_open",
        "mq_unlink",
        "pidfd_open",
        "perf_event_open",
        "kexec_load",
        "kexec_file_load",
        "utimensat_time64",
    ),  # the last: on 32-bit ABIs only
}


def header(abi: str) -> dict[str, int]:
    path = HEADERS[abi][0]
    if not os.path.exists(path):
        pytest.skip(f"{path} is not installed (linux-libc-dev)")
    pattern = re.compile(r"#define __NR(?:3264)?_(\w+)\s+(?:\(__X32_SYSCALL_BIT \+ )?(\d+)")
    with open(path) as lines:
        return {m[1]: int(m[2]) for line in lines if (m := pattern.match(line))}


def numbers(abi: str) -> list[tuple[str, int]]:
    _, arch, bit = HEADERS[abi]
    return [(call.name, nr ^ bit) for nr, call in CALLS[arch].items() if nr & X32_SYSCALL_BIT == bit]


@pytest.mark.parametrize("abi", HEADERS)
def test_every_number_of_the_table_is_the_headers(abi: str) -> None:
    known = {**NEW, **header(abi)}
    if abi == "aarch64":
        known["newfstatat"] = known["fstatat"]
    assert len(numbers(abi)) > 50
    assert [(name, nr) for name, nr in numbers(abi) if known.get(name) != nr] == []


@pytest.mark.parametrize("abi", HEADERS)
def test_every_call_that_looks_like_a_path_call_is_in_the_table(abi: str) -> None:
    stopped = {nr for _, nr in numbers(abi)}
    legacy = 1024 if abi == "aarch64" else 1 << 20  # asm-generic lists names that aarch64 does not have from 1024 on
    names = {name for name, nr in header(abi).items() if LIKE_PATH.search(name) and nr not in stopped and nr < legacy}
    assert names - NO_PATH == set()


@pytest.mark.parametrize("abi", HEADERS)
def test_the_filter_stops_the_table_and_nothing_else(abi: str) -> None:
    program = bpf.instructions(bpf.SECCOMP_RET_TRACE)
    _, arch, bit = HEADERS[abi]
    stopped = {nr for nr in range(HIGHEST_KNOWN + 1) if bpf.answer(program, arch, nr | bit) == bpf.SECCOMP_RET_TRACE}
    assert stopped == {nr for _, nr in numbers(abi) if nr <= HIGHEST_KNOWN}


@pytest.mark.parametrize("abi", HEADERS)
def test_io_uring_setup_is_refused_and_unknown_calls_stop(abi: str) -> None:
    program = bpf.instructions(bpf.SECCOMP_RET_USER_NOTIF)
    _, arch, bit = HEADERS[abi]
    assert bpf.answer(program, arch, 425 | bit) == bpf.SECCOMP_RET_ERRNO | 38
    assert bpf.answer(program, arch, 426 | bit) == bpf.SECCOMP_RET_ALLOW
    assert bpf.answer(program, arch, HIGHEST_KNOWN + 1 | bit) == bpf.SECCOMP_RET_USER_NOTIF
    assert bpf.answer(program, arch, 0xFFFFFFFF) == bpf.SECCOMP_RET_ALLOW


@pytest.mark.parametrize("abi", HEADERS)
def test_fstat_by_an_at_call_goes_on_and_what_may_name_a_file_stops(abi: str) -> None:
    """What glibc makes of fstat(3): newfstatat(fd, "", …, AT_EMPTY_PATH)."""
    program = bpf.instructions(bpf.SECCOMP_RET_TRACE)
    _, arch, bit = HEADERS[abi]
    forms = [call for nr, call in CALLS[arch].items() if call.name in FSTAT_FORMS and nr & X32_SYSCALL_BIT == bit]
    assert forms
    for call in forms:
        number = next(nr for nr, other in CALLS[arch].items() if other is call and nr & X32_SYSCALL_BIT == bit)

        def said(descriptor: int, flags: int, nr: int = number, at: int = call.flags or 0) -> int:
            args = [descriptor, 0, 0, 0, 0, 0]
            args[at] = flags
            return bpf.answer(program, arch, nr, args)

        assert said(3, AT_EMPTY_PATH) == bpf.SECCOMP_RET_ALLOW
        assert said(3, 0) == bpf.SECCOMP_RET_TRACE
        assert said(3, AT_EMPTY_PATH | 0x100) == bpf.SECCOMP_RET_TRACE  # AT_SYMLINK_NOFOLLOW: systemd's, with a name
        assert said(-100 & (1 << 64) - 1, AT_EMPTY_PATH) == bpf.SECCOMP_RET_TRACE  # AT_FDCWD
        assert said(0xFFFFFF9C, AT_EMPTY_PATH) == bpf.SECCOMP_RET_TRACE  # the same in 32 bits


def test_an_unknown_abi_stops_rather_than_being_missed() -> None:
    program = bpf.instructions(bpf.SECCOMP_RET_TRACE)
    assert bpf.answer(program, 0x40000028, 5) == bpf.SECCOMP_RET_TRACE  # AUDIT_ARCH_ARM


def test_an_extra_call_stops_on_its_abi_only() -> None:
    program = bpf.instructions(bpf.SECCOMP_RET_TRACE, {AUDIT_ARCH_X86_64: (231,)})
    assert bpf.answer(program, AUDIT_ARCH_X86_64, 231) == bpf.SECCOMP_RET_TRACE
    assert bpf.answer(program, AUDIT_ARCH_X86_64, 231 | X32_SYSCALL_BIT) == bpf.SECCOMP_RET_TRACE
    assert bpf.answer(program, AUDIT_ARCH_I386, 231) == bpf.SECCOMP_RET_ALLOW  # there it is fgetxattr


def test_the_filter_fits_the_kernel() -> None:
    program = bpf.instructions(bpf.SECCOMP_RET_TRACE, {AUDIT_ARCH_X86_64: (231,)})
    assert len(program) <= 4096  # BPF_MAXINSNS
    assert len(bpf.assemble(program)) == 8 * len(program)


def test_the_table_says_what_the_supervisor_of_environments_does() -> None:
    """Its rules, by the file that each one's handler is in, against the table's column; but calls that take no path."""
    here = os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", "..", "runtime", "native", "env", "supervisor"
    )
    where = {"on_view": "view"}
    for name in os.listdir(here):
        with open(os.path.join(here, name), encoding="utf-8") as file:
            text = file.read()
        if name == "rules.c":
            rules = re.findall(r"^    \{(?:SYS_(\w+)|(\d+) /\*[^*]*\*/), (on_\w+),", text, re.MULTILINE)
        if kind := re.fullmatch(r"calls_(\w+)\.c", name):
            where |= dict.fromkeys(re.findall(r"^struct answer (on_\w+)\(", text, re.MULTILINE), kind[1])
    table = {words[0]: words for words in facts.rows("syscalls")}
    numbers = {words[1]: words[0] for words in table.values()}
    does = {name or numbers[number]: where[handler] for name, number, handler in rules}
    assert len(does) == len(rules) > 60
    assert {name: words[8] for name, words in table.items() if words[8] != "-"} == {
        name: kind for name, kind in does.items() if name in table
    }
    takes_none = re.compile(
        r"f(stat|chmod|chown)|[gs]et(e|res|re|fs)?[ug]id|[gs]etgroups|prctl|capset|getsockopt|unshare|clone"
    )
    assert [name for name in does if name not in table and not takes_none.fullmatch(name)] == []
