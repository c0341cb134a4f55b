"""RecBole's Config reads files, dictionaries and the command line without executing them.

RecBole passes every text of a dictionary and of the command line to Python's `eval`, so that
whoever writes a configuration runs code. Three of Config's methods are replaced:

_load_config_files
    Files are read as `core.yaml_files` does; what cannot be read is an `InputError`.
_load_variable_config_dict
    Values stay as they are: a text is a text. A list in quotes, as RecBole's HyperTuning passes
    it, becomes that list, unless the key is one of `INTERVALS`.
_load_cmd_line
    --key=value is read as YAML, and a value may hold an equals sign. Words of another form are not
    RecBole's: they are left to the program.
"""

import ast
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from recbole.config import Config

from ur4rec_recbole.core.command_line import INTERVALS, read_value
from ur4rec_recbole.core.yaml_files import read_mapping


def apply() -> None:
    """Replace the methods; a second call changes nothing."""
    Config._load_config_files = _load_config_files
    Config._load_variable_config_dict = _load_variable_config_dict
    Config._load_cmd_line = _load_cmd_line


def _load_config_files(self: Config, files: Sequence[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in files or ():
        found |= read_mapping(file, "config_files")
    return found


def _load_variable_config_dict(self: Config, given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: _unquoted(key, value) for key, value in (given or {}).items()}


def _unquoted(key: str, value: Any) -> Any:
    listed = isinstance(value, str) and value.startswith("[") and value.endswith("]")
    if key in INTERVALS or not listed:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def _load_cmd_line(self: Config) -> dict[str, Any]:
    if "ipykernel_launcher" in sys.argv[0]:
        return {}
    pairs = [
        word.removeprefix("--").partition("=")
        for word in sys.argv[1:]
        if word.startswith("--") and "=" in word
    ]
    return {key: value if key in INTERVALS else read_value(value) for key, _, value in pairs if key}
