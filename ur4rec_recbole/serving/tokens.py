"""Ids as a program holds them, to tokens: texts as they are, numbers as tables write them."""

from collections.abc import Iterable
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.datasets.table_columns import NO_IDS, token

Id = str | int  # of a user or an item


def as_token(value: Any, what: str) -> str:
    """Return an id as a token; `what` names it in messages."""
    if isinstance(value, NO_IDS):
        raise InputError(what, "must be texts or numbers", repr(value)[:60], "Give ids.")
    return value if isinstance(value, str) else token(value)


def as_tokens(values: Any, what: str) -> list[str]:
    """Return several ids as tokens."""
    return [as_token(each, what) for each in as_list(values, what)]


def as_list(values: Any, what: str) -> list[Any]:
    """Return several things as a list; `InputError` for a single one."""
    if not is_list(values):
        raise InputError(what, "must be a list of ids", repr(values), "Write [...] around it.")
    return list(values)


def is_list(value: Any) -> bool:
    """Tell whether something holds several things; a text counts as a single one."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
