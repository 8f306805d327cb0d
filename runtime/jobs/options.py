"""Command lines of job managers, split: which words are options, which are their values, where the command begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.errors import UsageError
from sdee.runtime.jobs.model import Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def names(text: str) -> tuple[str, ...]:
    """Return the words of a list."""
    return tuple(text.split())


@dataclass(frozen=True)
class Option:
    """One option as it was typed: its words, its name (long where there is one, without dashes) and its value."""

    words: tuple[str, ...]
    name: str
    value: str | None


@dataclass(frozen=True)
class Table:
    """A program's options as getopt_long(3) takes them.

    `values`: names (long, or one letter) that take a value in the next word; `flags`: names that take none there (no
    value, or one behind `=` only); `short`: letter → long name.
    """

    values: frozenset[str]
    flags: frozenset[str]
    short: Mapping[str, str]

    def takes_value(self, name: str) -> bool:
        """Return whether the word after `--name` is its value. Abbreviations count, where only one option is meant."""
        if name in self.values or name in self.flags:
            return name in self.values
        meant = {known for known in self.values | self.flags if known.startswith(name)}
        return bool(meant) and meant <= self.values

    def long_name(self, name: str) -> str:
        """Return the whole name of an abbreviated one."""
        meant = [known for known in self.values | self.flags if known.startswith(name)]
        return meant[0] if len(meant) == 1 and name not in meant else name


_HELP = re.compile(r"^  (?:-(?P<short>\w),? +|    +)--(?P<long>[a-z][-a-z0-9]*)(?P<rest>\S*)", re.MULTILINE)


def table_of_help(text: str, values: frozenset[str], flags: frozenset[str]) -> Table:
    """Read a table off a program's --help, as Slurm's programs write it.

    `values` and `flags` are options whose kind the manual tells; they hold where the help does not agree.
    """
    found_values, found_flags, short = set(values), set(flags), {}
    for match in _HELP.finditer(text):
        name, letter = match["long"], match["short"]
        if letter:
            short[letter] = name
        if name not in values and name not in flags:
            (found_values if match["rest"].startswith("=") else found_flags).add(name)
    return Table(frozenset(found_values), frozenset(found_flags), short)


def read_options(words: Sequence[str], table: Table) -> Iterator[Option]:
    """Yield each option of a list that holds nothing else; a word that is none (`:`) comes alone."""
    at = 0
    while at < len(words):
        size, option = _option(words, at, table)
        yield option
        at += size


def _option(words: Sequence[str], at: int, table: Table) -> tuple[int, Option]:
    word = words[at]
    if word.startswith("--"):
        typed, equals, value = word[2:].partition("=")
        name = table.long_name(typed)
        if equals:
            return 1, Option((word,), name, value)
        if table.takes_value(name):
            return 2, Option((word, _following(words, at)), name, _following(words, at))
        return 1, Option((word,), name, None)
    if not word.startswith("-") or word == "-":
        return 1, Option((word,), word, None)
    for place, letter in enumerate(
        word[1:], 1
    ):  # -HW: several flags in one word; the first with a value takes the rest
        name = table.short.get(letter, letter)
        if not table.takes_value(name):
            continue
        rest = word[place + 1 :]
        if rest:
            return 1, Option((word,), name, rest)
        return 2, Option((word, _following(words, at)), name, _following(words, at))
    return 1, Option((word,), table.short.get(word[1], word[1]), None)


def _following(words: Sequence[str], at: int) -> str:
    if at + 1 >= len(words) or words[at + 1] == "--":
        raise UsageError(f"option {words[at]} needs a value")
    return words[at + 1]


def split_getopt(arguments: Sequence[str], own: Mapping[str, bool], table: Table) -> Words:
    """Split `[OPTIONS…] [--] COMMAND…` of a program with getopt_long(3)'s options.

    Options of sdee's own win over the program's. Everything after `--` is the command.
    """
    mine: list[str] = []
    theirs: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return Words(tuple(mine), tuple(theirs), tuple(arguments[at + 1 :]))
        name = word.partition("=")[0]
        if name in own:
            size = 2 if own[name] and "=" not in word else 1
            if size == 2:
                _following(arguments, at)
            mine += arguments[at : at + size]
            at += size
        elif word.startswith("-") and word != "-":
            size, option = _option(arguments, at, table)
            theirs += option.words
            at += size
        elif word == ":" and theirs:  # the next component of a heterogeneous job
            theirs.append(word)
            at += 1
        else:
            break
    return Words(tuple(mine), tuple(theirs), tuple(arguments[at:]))
