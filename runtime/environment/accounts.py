"""Account files of an environment, made from the host's."""

from __future__ import annotations

from sdee.base import files


def passwd(host: str, home: str, shell: str) -> str:
    """Return the host's accounts in which root is the user: with the user's home and shell, so that ssh finds ~."""
    lines = []
    for line in files.lines(host):
        fields = line.split(":")
        if len(fields) == 7 and fields[0] == "root":
            fields[5:] = [home, shell]
        lines.append(":".join(fields))
    return "\n".join(lines) + "\n"


def shadow(passwd_text: str) -> str:
    """Return shadow entries for all accounts, none with a password: the host's is not readable, nor should it be."""
    names = [line.split(":")[0] for line in files.lines(passwd_text) if line.count(":") == 6]
    return "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names)


def gshadow(group_text: str) -> str:
    """Return gshadow entries for all groups."""
    fields = [line.split(":") for line in files.lines(group_text) if line.count(":") == 3]
    return "".join(f"{field[0]}:*::{field[3]}\n" for field in fields)
