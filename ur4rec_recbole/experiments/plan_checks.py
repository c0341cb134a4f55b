"""Checks what a plan's keys hold; anything wrong is an `InputError` before any run."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from ur4rec_recbole.core.errors import InputError, nearest

MOST_SEEDS = 1000
NAMES = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", bool: "a boolean"}


class Kind(NamedTuple):
    """What a key may hold: one of some types, members of a type where it is a list, or nothing."""

    types: tuple[type, ...]
    members: type | None = None
    optional: bool = False


TEXT, SEEDS = Kind((str,)), Kind((int, list))
MAPPING, FILES = Kind((dict,), optional=True), Kind((list,), str, optional=True)
NAME = Kind((str,), optional=True)
COMMON = {
    "model": TEXT, "config_files": FILES, "settings": MAPPING, "seeds": SEEDS, "start_from": NAME
}  # fmt: skip
PLAN = COMMON | {
    "dataset": TEXT, "baseline": NAME, "evaluate": Kind((list,), str),
    "entries": Kind((list,), dict), "images": NAME, "tune": Kind((dict, list), dict, optional=True),
}  # fmt: skip
ENTRY = COMMON | {
    "name": TEXT,
    "group": TEXT,
    "pretrain": MAPPING,
    "with_images": Kind((bool, str)),
}


def check_keys(
    what: str, values: Mapping[str, Any], known: Mapping[str, Kind], needed: Iterable[str]
) -> None:
    """Raise `InputError` for keys that are unknown, missing or of another kind."""
    for key in values:
        if key not in known:
            near = nearest(key, known)
            refuse(f"{what}: {key}", f"must be one of {sorted(known)}", "an unknown key", near)
    for key in needed:
        if not values.get(key):
            refuse(f"{what}: {key}", "must be given", repr(values.get(key)))
    for key, value in values.items():
        kind = known[key]
        if value is None and kind.optional:
            continue
        check_type(f"{what}: {key}", value, *kind.types)
        for each in value if kind.members and isinstance(value, list) else ():
            check_type(f"{what}: {key}", each, kind.members)
        if isinstance(value, dict) or kind.members is dict:
            check_plain(f"{what}: {key}", value)


def check_type(what: str, value: Any, *types: Any) -> None:
    """Raise `InputError` for a value of another type; a boolean is no number."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        refuse(what, "must be " + " or ".join(NAMES[each] for each in types), repr(value)[:200])


def check_plain(what: str, value: Any) -> None:
    """Raise `InputError` unless a value holds texts, finite numbers, lists and mappings alone."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            check_type(f"{what}: {key!r}", key, str)
            check_plain(f"{what}: {key}", each)
    elif isinstance(value, list):
        for each in value:
            check_plain(what, each)
    elif isinstance(value, float) and not math.isfinite(value):
        refuse(what, "must be finite", value)
    elif value is not None and not isinstance(value, str | int | float):
        refuse(what, "must be text, numbers, lists or mappings", f"a {type(value).__name__}")


def read_seeds(value: Any, what: str, first: int) -> tuple[int, ...]:
    """Read a number of seeds, which begin at `first`, or a list of them."""
    if type(value) is int and 0 < value <= MOST_SEEDS:
        return tuple(range(first, first + value))
    if isinstance(value, list) and 0 < len(value) <= MOST_SEEDS:
        sound = all(type(each) is int and 0 <= each < 2**32 for each in value)
        if sound and len(set(value)) == len(value):
            return tuple(value)
    rule = f"must be a number of seeds up to {MOST_SEEDS}, or a list of different ones below 2^32"
    refuse(f"{what}: seeds", rule, repr(value)[:200])


def refuse(what: str, rule: str, received: object, remedy: str = "") -> NoReturn:
    """Raise the error of a wrong plan."""
    raise InputError(
        what, rule, received, remedy or "Correct the plan; docs/benchmark.md tells its format."
    )
