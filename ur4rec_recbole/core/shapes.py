"""Shapes: what a file must hold before it is used, so that a damaged one is a clear message.

A shape is a type or a tuple of types; `[shape]` is a list of that shape, `{key: shape}` a mapping
with at least these keys, `Values(shape)` a mapping of any keys, `Maybe(shape)` a value that may be
missing or None.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ur4rec_recbole.core.errors import InputError

NUMBER = (int, float)
ANYTHING = object


class Values(NamedTuple):
    """A mapping of texts to values of one shape."""

    shape: Any


class Maybe(NamedTuple):
    """A value that may be missing or None."""

    shape: Any


def check(value: Any, shape: Any, file: Path, remedy: str) -> Any:
    """Return a value read from `file`; `InputError` where it has another shape."""
    wrong = fault(value, shape)
    if wrong:
        place, rule, received = wrong
        raise InputError(f"{file}{place}", rule, received, remedy)
    return value


def fault(value: Any, shape: Any, place: str = "") -> tuple[str, str, str] | None:
    """Return where a value breaks its shape, the rule and what is there instead; None if nowhere.

    The place is written as ": stages[0].score".
    """
    if isinstance(shape, Maybe):
        return None if value is None else fault(value, shape.shape, place)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _wrong(value, "a list", place)
        inside = [(f"[{index}]", each, shape[0]) for index, each in enumerate(value)]
    elif isinstance(shape, dict | Values):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return _wrong(value, "a mapping", place)
        if isinstance(shape, dict):
            inside = [(key, value.get(key), each) for key, each in shape.items()]
        else:
            inside = [(key, each, shape.shape) for key, each in value.items()]
    else:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        names = " or ".join(kind.__name__ for kind in kinds)
        return None if _is(value, kinds) else _wrong(value, names, place)
    for name, each, expected in inside:
        dot = "" if name.startswith("[") else "." if place else ": "
        found = fault(each, expected, f"{place or (': ' if not dot else '')}{dot}{name}")
        if found:
            return found
    return None


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    """Tell whether a value is of one of these types; a bool is no number, nor is what overflows."""
    if isinstance(value, int) and object not in kinds:
        return type(value) in kinds and abs(value) < 2**63
    return isinstance(value, kinds)


def _wrong(value: Any, rule: str, place: str) -> tuple[str, str, str]:
    shown = "nothing" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"
    return place, f"must be {rule}", shown
