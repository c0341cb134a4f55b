"""Configuration: RecBole's Config, with unknown, missing and mistyped keys made errors.

The schema of a model is its properties/<model>.yaml itself, and every_model.yaml: their keys, and
the `# (type, rule)` behind each.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from recbole.utils import argument_list

from ur4rec_recbole.core.errors import InputError

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "dict": (dict,),
    "~": (type(None),),
}
# Keys that RecBole reads but lists nowhere.
UNLISTED = frozenset(
    "model dataset config_files transform enable_amp enable_scaler nproc ip port world_size "
    "group_offset local_rank offset benchmark_filename reg_weight require_pow wandb_project "
    "shuffle worker".split()
)


class Rule(NamedTuple):
    """What a key may hold, as its comment says: `(int, >= 1)`, `(str or ~, one of a|b)`.

    Attributes
    ----------
    types
        Names in `TYPES`.
    bound
        ">= x", "> x", "x to y", "one of a|b", or "".
    """

    types: tuple[str, ...]
    bound: str

    def admits(self, value: Any) -> bool:
        """Tell whether a value has one of the types and keeps the bound."""
        if isinstance(value, bool) and "bool" not in self.types:
            return False  # a bool is an int to Python, not to a reader of YAML
        kinds = [kind for name in self.types for kind in TYPES[name]]
        if not isinstance(value, tuple(kinds)):
            return False
        if value is None or not self.bound:
            return True
        if self.bound.startswith("one of "):
            return value in self.bound.removeprefix("one of ").split("|")
        number: Any = value
        if not math.isfinite(number):
            return False
        if " to " in self.bound:
            low, high = map(float, self.bound.split(" to "))
            return low <= number <= high
        sign, limit = self.bound.split()
        return number > float(limit) or (sign == ">=" and number == float(limit))

    def __str__(self) -> str:
        return " or ".join(self.types) + (f", {self.bound}" if self.bound else "")


def defaults_file(model: str) -> Path:
    """Return the YAML file of a model of this package."""
    return Path(__file__).parent / "properties" / f"{model}.yaml"


def _documented(model: str) -> str:
    """Return the text of the model's own keys and of those that every model has."""
    files = (defaults_file(model), defaults_file("every_model"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@lru_cache
def schema(model: str = "UR4Rec") -> dict[str, Rule]:
    """Return the rules of a model's own keys, as their YAML files document them."""
    line = re.compile(r"^(\w+):.*#\s*\(([^),]*)(?:, ([^)]*))?\)", re.MULTILINE)
    found = line.findall(_documented(model))
    return {key: Rule(tuple(types.split(" or ")), bound) for key, types, bound in found}


def check_known(keys: Iterable[str], known: Iterable[str], model: str = "UR4Rec") -> None:
    """Raise `InputError` for a key that neither the model nor RecBole knows."""
    allowed = {*schema(model), *known, *UNLISTED}
    for name in ("general", "training", "evaluation", "dataset"):
        allowed |= set(getattr(argument_list, f"{name}_arguments"))
    for key in keys:
        if key not in allowed:
            near = difflib.get_close_matches(key, sorted(allowed), n=1)
            raise InputError(
                f"Configuration key {key!r}",
                f"must be known to {model} or RecBole",
                "an unknown key",
                f"Did you mean {near[0]!r}?" if near else f"See {model}.yaml.",
            )


def check_values(values: Mapping[str, Any], model: str = "UR4Rec") -> None:
    """Raise `InputError` for a key of the model that is missing or breaks its rule."""
    for key, rule in schema(model).items():
        if key not in values:
            raise InputError(
                f"Configuration key {key!r}", "must be set", "nothing", f"See {model}.yaml."
            )
        if not rule.admits(values[key]):
            raise InputError(
                f"Configuration key {key!r}",
                f"must be {rule}",
                f"{values[key]!r} ({type(values[key]).__name__})",
                f"Correct it; {model}.yaml tells what it means.",
            )


def defaults(model: str = "UR4Rec") -> dict[str, Any]:
    """Return a model's defaults."""
    return yaml.safe_load(with_floats(_documented(model)))


def with_floats(text: str) -> str:
    """Write 1e-12 as 1.0e-12, which YAML's safe loader takes for a number."""
    return re.sub(r"(:\s+)(\d+)(e-?\d+)", r"\1\2.0\3", text)
