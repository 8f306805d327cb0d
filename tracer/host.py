"""Facts about the machine and the user that a trace's header holds (docs/trace-format.md)."""

from __future__ import annotations

import os
import re
import resource
import struct
from typing import Any

from sdee import files
from sdee.tokens import has_secret

# Conservative on purpose: a variable too many stays behind and is counted; a secret never travels
SECRET = re.compile(
    r"TOKENS?(?![A-Z])|SECRET|PASSW(OR)?D|PASSPHRASE|PASSCODE|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|LICENSE)_?KEY(?!BOARD)"
    r"|CREDENTIAL|^AWS_(?!CA_BUNDLE$|(DEFAULT_)?REGION$)|^AZURE_|^GOOGLE_APPLICATION|(^|_)(PWD_?HASH|PAT|AUTH|COOKIE|DSN)$|^SSH_(AUTH_SOCK|ASKPASS)"
    r"|^(GPG|PGP)_|DATABASE_URL|KRB5CCNAME|WEBHOOK|JWT|BEARER",
    re.IGNORECASE,
)

# x86-64 psABI, "micro-architecture levels": flags of /proc/cpuinfo that each adds to the one before
_LEVELS = (
    ("x86-64-v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"),
    ("x86-64-v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
    ("x86-64-v4", "avx512f avx512bw avx512cd avx512dq avx512vl"),
)
_LIBC = re.compile(r"/(libc\.so\.6|libc-2\.[0-9]+\.so|ld-musl-[^/]*|libc\.musl-[^/]*)$")
_NT_GNU_BUILD_ID = 3
_PT_NOTE = 4


def split_environment(env: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return `env` without variables that look like secrets by their names or values, and those names."""
    dropped = sorted(name for name, value in env.items() if SECRET.search(name) or has_secret(value))
    return {name: value for name, value in env.items() if name not in dropped}, dropped


def os_release() -> dict[str, str]:
    """Return ID, VERSION_ID and PRETTY_NAME of os-release(5), those that it has."""
    facts = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    name, _, value = line.strip().partition("=")
                    if name in ("ID", "VERSION_ID", "PRETTY_NAME"):
                        facts[name] = value.strip("\"'")
        except OSError:
            continue
        return facts
    return facts


def cpu_level() -> str:
    """Return the highest x86-64 level that this CPU has all flags of; the machine's name elsewhere."""
    machine = os.uname().machine
    if machine != "x86_64":
        return machine
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = set(next((line for line in file if line.startswith("flags")), "").split())
    except OSError:
        flags = set()
    level = "x86-64-v1"
    for name, needed in _LEVELS:
        if not flags.issuperset(needed.split()):
            break
        level = name
    return level


def build_id(path: str) -> str:
    """Return an ELF64 file's GNU build-id in hex, "" if it has none (elf(5), PT_NOTE)."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return ""
        offset, size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
        for at in range(0, len(table), size):
            if struct.unpack_from("<I", table, at)[0] != _PT_NOTE:
                continue
            start, length = struct.unpack_from("<Q", table, at + 8)[0], struct.unpack_from("<Q", table, at + 32)[0]
            file.seek(start)
            notes = file.read(length)
            where = 0
            while where + 12 <= len(notes):
                name_size, desc_size, kind = struct.unpack_from("<III", notes, where)
                desc = where + 12 + (name_size + 3) // 4 * 4
                if kind == _NT_GNU_BUILD_ID and notes[where + 12 : where + 16] == b"GNU\0":
                    return notes[desc : desc + desc_size].hex()
                where = desc + (desc_size + 3) // 4 * 4
    return ""


def libc() -> dict[str, str]:
    """Return path, version and build_id of the libc that this very process runs on.

    The system's Python and the system's programs share it. A job with a libc of its own (a container's, musl) shows
    it among its accesses; this one says what the *machine* has.
    """
    path = ""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            path = next((name for line in file if _LIBC.search(name := line.rstrip("\n")[73:])), "")
        identity = build_id(path) if path else ""
    except (OSError, struct.error):
        identity = ""
    try:
        version = (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2]
    except (ValueError, OSError):
        version = ""
    return {"path": path, "version": version, "build_id": identity}


def mounts(text: str) -> list[list[str]]:
    """Return [mount point, file system type] of each mount; `text`: a mountinfo file (proc_pid_mountinfo(5)).

    Not overlays that only catch what the traced run writes (runtime/environment/discard.py): what they cover counts.
    """
    found = []
    for line in files.lines(text):
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), left.split(" ")[4])
        kind, source = right.split(" ")[:2]
        if source != "sdee-discarded":
            found.append([point, kind])
    return found


def mountinfo() -> str:
    """Return this process's mountinfo file, "" where it cannot be read."""
    try:
        return files.mountinfo()
    except OSError:
        return ""


def rlimits() -> dict[str, list[int]]:
    """Return {name: [soft, hard]} with names as in getrlimit(2) without RLIMIT_, in lower case; -1 is unlimited."""
    names = [name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"]
    return {name[7:].lower(): list(resource.getrlimit(getattr(resource, name))) for name in names}


def facts() -> dict[str, Any]:
    """Return the header's `host`."""
    name = os.uname()
    return {
        "os": os_release(),
        "kernel": name.release,
        "machine": name.machine,
        "cpu_level": cpu_level(),
        "libc": libc(),
        "hostname": name.nodename,
        "mounts": mounts(mountinfo()),
    }
