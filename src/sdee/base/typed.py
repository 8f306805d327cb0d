"""JSON of a known shape from a file that anybody may have written: decoded in bounded memory, every value checked.

Rejected: msgspec and pydantic, which take no lone surrogates, by which our JSON keeps the bytes of paths that are not
UTF-8 (os.fsdecode).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Shape = Callable[[Any], None]  # raises ValueError

VALUES = 8_000_000  # in one text, at most: as objects of Python they take up to 64 bytes each


def loads(data: bytes, *, values: int = VALUES) -> Any:
    """Decode JSON. Raises ValueError, also for more than `values` values and for what is nested too deeply."""
    if len(data) > values and sum(map(data.count, (b",", b"[", b"{"))) > values:
        raise ValueError(f"it holds more than {values} values")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def text(value: Any) -> None:
    """Check a string that can be a path, an argument, a variable: bytes without NUL (os.fsencode)."""
    if not isinstance(value, str):
        raise ValueError("is not text")  # noqa: TRY004 - one error for all that a file may hold
    if not value.isascii():
        value.encode("utf-8", "surrogateescape")
    if "\0" in value:
        raise ValueError("holds a NUL")


def path(value: Any) -> None:
    """Check an absolute path."""
    text(value)
    if not value.startswith("/"):
        raise ValueError("is not an absolute path")


def whole(value: Any) -> None:
    """Check a whole number of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 64:
        raise ValueError("is not a whole number of 64 bits")


def number(value: Any) -> None:
    """Check a finite number."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("is not a finite number")
    else:
        whole(value)


def truth(value: Any) -> None:
    """Check true or false."""
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")  # noqa: TRY004


def maybe(shape: Shape) -> Shape:
    """Return the shape of a value that may be null."""

    def check(value: Any) -> None:
        if value is not None:
            shape(value)

    return check


def many(shape: Shape, least: int = 0) -> Shape:
    """Return the shape of a list."""

    def check(value: Any) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError("is not a list" if least == 0 else f"is not a list of at least {least}")
        for item in value:
            shape(item)

    return check


def row(*shapes: Shape) -> Shape:
    """Return the shape of a list with one value of each."""

    def check(value: Any) -> None:
        if not isinstance(value, list) or len(value) != len(shapes):
            raise ValueError(f"is not a list of {len(shapes)}")
        for shape, item in zip(shapes, value, strict=True):
            shape(item)

    return check


def named(shape: Shape) -> Shape:
    """Return the shape of an object with any names."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("is not an object")  # noqa: TRY004
        for name, item in value.items():
            text(name)
            shape(item)

    return check


def record(required: dict[str, Shape], optional: dict[str, Shape] | None = None) -> Shape:
    """Return the shape of an object with these fields; others may be there, of later versions."""
    more = optional or {}

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("is not an object")  # noqa: TRY004
        name = ""
        try:
            for name, shape in required.items():
                shape(value[name])
            for name in more.keys() & value.keys():
                more[name](value[name])
        except KeyError:
            raise ValueError(f"{name} is missing") from None
        except UnicodeEncodeError:
            raise ValueError(f"{name}: holds a character that no bytes encode") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    return check
