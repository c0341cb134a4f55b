"""Configuration: RecBole's Config, with unknown, missing and mistyped keys made errors.

The schema is properties/UR4Rec.yaml itself: its keys, and the `# (type)` behind each.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from recbole.utils import argument_list

from ur4rec_recbole.errors import InputError

DEFAULTS_FILE = Path(__file__).parent / "properties" / "UR4Rec.yaml"
TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "list": (list, tuple),
    "dict": dict,
    "~": type(None),
}
# Keys that RecBole reads but lists nowhere.
UNLISTED = frozenset(
    "model dataset config_files transform enable_amp enable_scaler nproc ip port world_size "
    "group_offset local_rank offset benchmark_filename reg_weight require_pow wandb_project "
    "shuffle worker".split()
)


@lru_cache(maxsize=1)
def schema() -> dict[str, tuple[str, ...]]:
    """Return the allowed types of UR4Rec's own keys, as its YAML file documents them."""
    line = re.compile(r"^(\w+):.*#\s*\(([^)]*)\)", re.MULTILINE)
    found = line.findall(DEFAULTS_FILE.read_text(encoding="utf-8"))
    return {key: tuple(types.split(" or ")) for key, types in found}


def check_known(keys: Iterable[str], known: Iterable[str]) -> None:
    """Raise `InputError` for a key that neither UR4Rec nor RecBole knows."""
    allowed = {*schema(), *known, *UNLISTED}
    for name in ("general", "training", "evaluation", "dataset"):
        allowed |= set(getattr(argument_list, f"{name}_arguments"))
    for key in keys:
        if key not in allowed:
            near = difflib.get_close_matches(key, sorted(allowed), n=1)
            raise InputError(
                f"Configuration key {key!r}",
                "must be known to UR4Rec or RecBole",
                "an unknown key",
                f"Did you mean {near[0]!r}?" if near else f"See {DEFAULTS_FILE.name}.",
            )


def check_types(values: Mapping[str, Any]) -> None:
    """Raise `InputError` for a key of UR4Rec that is missing or has another type."""
    for key, names in schema().items():
        if key not in values:
            raise InputError(
                f"Configuration key {key!r}", "must be set", "nothing", f"See {DEFAULTS_FILE.name}."
            )
        value = values[key]
        fits = isinstance(value, tuple(_flatten(names)))
        if isinstance(value, bool) and "bool" not in names:
            fits = False  # a bool is an int to Python, not to a reader of YAML
        if not fits:
            raise InputError(
                f"Configuration key {key!r}",
                f"must be {' or '.join(names)}",
                f"{value!r} ({type(value).__name__})",
                f"Correct it; {DEFAULTS_FILE.name} tells what it means.",
            )


def defaults() -> dict[str, Any]:
    """Return UR4Rec's defaults."""
    return yaml.safe_load(_with_floats(DEFAULTS_FILE.read_text(encoding="utf-8")))


def _with_floats(text: str) -> str:
    """Write 1e-12 as 1.0e-12, which YAML's safe loader takes for a number."""
    return re.sub(r"(:\s+)(\d+)(e-?\d+)", r"\1\2.0\3", text)


def _flatten(names: tuple[str, ...]) -> list[type]:
    found: list[type] = []
    for name in names:
        kinds = TYPES[name]
        found.extend(kinds if isinstance(kinds, tuple) else (kinds,))
    return found
