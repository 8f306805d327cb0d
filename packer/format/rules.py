"""The bundle format's numbers, and the rules on CONF.

Written by .ci/generate from packer/format/bundle.toml: change that, not this.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """A key of CONF: how often it is there, and the shape of its value, as a regular expression of bytes."""

    least: int
    most: int
    shape: bytes
    called: str
    coverage: str = "contained"
    first_word: bool = False
    counted: str = ""
    compare: bool = True


VERSION = 1
MAGIC_FOOTER = 0x184D2A5D
MAGIC_TABLE = 0x184D2A50
NAME_FOOTER = b"SDEEBNDL"
NAME_TABLE = b"SDEETOC1"
FOOTER = "<II8sIIQQQQQ32s32s"
FOOTER_SIZE = 128
ENTRY = "<IIQQqIIII"
MOST_PATH = 4031
MOST_COMPONENT = 255
MOST_LINK = 4095
MOST_FRAME = 16777216
MOST_SECTIONS = 16
MOST_META = 268435456
MOST_META_FREE = 16777216
MOST_META_RATIO = 256
TAGS = (b"STRS", b"ENTR", b"SHAS", b"FRAM", b"CONF", b"META")

CONF = {
    "machine": Key(1, 1, rb"(?:[^/\s]+)", "as uname -m prints"),
    "program": Key(1, 1, rb"(?:/.*)", "an absolute path", coverage="command"),
    "arg": Key(1, 2147483648, rb"(?:.*)", "any text", coverage="command"),
    "kept-args": Key(0, 1, rb"(?:[1-9][0-9]{0,8})", "a number from 1", coverage="command"),
    "cwd": Key(1, 1, rb"(?:/.*)", "an absolute path", coverage="command"),
    "umask": Key(1, 1, rb"(?:0?[0-7]{1,3})", "octal, 0 to 0777", coverage="equal"),
    "env": Key(0, 2147483648, rb"(?:[^=]+=.*)", "NAME=VALUE", coverage="equal", counted="variable"),
    "live-env": Key(0, 2147483648, rb"(?:.+)", "not empty", counted="pattern"),
    "fixed-env": Key(0, 2147483648, rb"(?:.+)", "not empty", counted="pattern"),
    "rlimit": Key(
        0,
        2147483648,
        rb"(?:[a-z]+) (?:[0-9]{1,20}|unlimited) (?:[0-9]{1,20}|unlimited)",
        "NAME LIMIT LIMIT",
        coverage="equal",
        counted="limit",
    ),
    "os": Key(1, 1, rb"(?:.*)", "any text"),
    "libc": Key(0, 1, rb"(?:/.*)", "an absolute path"),
    "interpreter": Key(0, 2147483648, rb"(?:/.*)", "an absolute path"),
    "live": Key(0, 2147483648, rb"(?:/|(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)", "a normalised path or /"),
    "tree": Key(
        0,
        2147483648,
        rb"(?:/|(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)",
        "a normalised path or /",
        coverage="equal",
    ),
    "left-out": Key(
        0,
        2147483648,
        rb"(?:/|(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)",
        "a normalised path or /",
        coverage="equal",
    ),
    "unused": Key(
        0,
        2147483648,
        rb"(?:/|(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)",
        "a normalised path or /",
        coverage="command",
    ),
    "fallback": Key(
        0,
        2147483648,
        rb"(?:(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)",
        "a normalised path",
        coverage="equal",
        compare=False,
    ),
    "host": Key(
        0,
        2147483648,
        rb"(?:/|(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)",
        "a normalised path or /",
        coverage="joined",
    ),
    "shared": Key(0, 2147483648, rb"(?:/.*)", "an absolute path", coverage="command", compare=False),
    "absent": Key(
        0,
        2147483648,
        rb"(?:(?=.{1,4031}\Z)(?:/(?!\.{1,2}(?:/|\Z))[^/]{1,255})+)",
        "a normalised path",
        coverage="joined",
    ),
    "looked-for": Key(0, 2147483648, rb"(?:/.*)", "an absolute path", coverage="command"),
    "incomplete": Key(0, 2147483648, rb"(?:.*)", "any text"),
    "cpu": Key(0, 1, rb"(?:[^ ]+)", "a word", coverage="equal"),
    "isa": Key(0, 1, rb"(?:[^ ]+) (?:[^ ]+)", "WORD WORD", coverage="equal", first_word=True),
    "kernel": Key(0, 1, rb"(?:[0-9]+(?:\.[0-9]+)+) (?:[^ ]+)", "VERSION WORD", coverage="equal", first_word=True),
    "library-directory": Key(0, 2147483648, rb"(?:/.*)", "an absolute path"),
    "host-family": Key(0, 2147483648, rb"(?:[^ ]+) (?:never|prefer|asked)(?: .*)?", "WORD USE ..."),
    "host-need": Key(0, 2147483648, rb"(?:[^ ]+) (?:must|may) (?:[^ ]+)(?: .*)?", "WORD NEED WORD ..."),
    "host-symbols": Key(0, 2147483648, rb"(?:[^ ]+) (?:[^ ]+)(?: .*)?", "WORD WORD ..."),
    "host-used": Key(0, 2147483648, rb"(?:[^ ]+)", "a word", coverage="command"),
    "provides": Key(0, 2147483648, rb"(?:[^ ]+)(?: .*)?", "WORD ..."),
}
