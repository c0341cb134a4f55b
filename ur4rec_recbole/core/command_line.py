"""The words of the command line that are settings, and who reads them.

RecBole's Config reads --key=value from sys.argv, whatever program that belongs to. Inside
`settings_from` it sees the words that it is given and no others.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import parse

# To RecBole "[5,10]" is a text here, not a list.
INTERVALS = ("user_inter_num_interval", "item_inter_num_interval")


@contextmanager
def settings_from(words: Sequence[str] = ()) -> Iterator[None]:
    """Let RecBole read these words instead of the program's own."""
    before = sys.argv
    sys.argv = [*before[:1], *words]
    try:
        yield
    finally:
        sys.argv = before


def check_words(words: Sequence[str]) -> None:
    """Raise `InputError` for a word that is no --key=value, or a key with two values."""
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not equals or not key:
            raise InputError(
                f"Command line: {word}", "must be --key=value", "a word that sets nothing",
                f"Write --{word.strip('-') or 'key'}=VALUE, with the equals sign.",
            )  # fmt: skip
        if given.setdefault(key, value) != value:
            raise InputError(
                f"Command line: --{key}", "must be given once", f"{given[key]!r} and {value!r}",
                "Remove one of them.",
            )  # fmt: skip


def read_value(text: str) -> Any:
    """Read the value of --key=value as YAML, Python's None and containers too; else as text."""
    try:
        value = ast.literal_eval(text) if text[:1] in ("[", "{", "(") else parse(text)
    except (yaml.YAMLError, ValueError, SyntaxError, RecursionError, MemoryError):
        try:
            value = parse(text)
        except (yaml.YAMLError, ValueError):
            return text
    if value == "None":
        return None
    return list(value) if isinstance(value, tuple) else value
