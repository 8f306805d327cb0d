"""How sizes, counts and names of others are written for people."""

from __future__ import annotations

import os


def size_text(size: float) -> str:
    """Return a number of bytes in the unit (powers of 1000) that makes it readable."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def count_text(number: int, noun: str) -> str:
    """Return "1 file", "1,234 files"; `noun` in the singular."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "es" if noun.endswith("s") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def safe(text: str) -> str:
    r"""Return text with what could confuse a terminal or a line reader escaped, as `ls -b` does (\n, \033, \\)."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def _escape(char: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
    if char in named:
        return named[char]
    if char.isprintable():
        return char
    try:
        return "".join(f"\\{byte:03o}" for byte in os.fsencode(char))
    except UnicodeEncodeError:  # a surrogate that encodes no byte
        return f"\\u{ord(char):04x}"
