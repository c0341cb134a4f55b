"""Space: which settings a search may choose, read from a YAML file.

learning_rate: {low: 0.0005, high: 0.01, log: true}
n_layers: {low: 1, high: 4, int: true}
fusion: {choices: [weighted, gated]}
adapter_options.lr: {low: 0.001, high: 0.1}      the key `lr` of the setting `adapter_options`

`low` and `high` are the least and the greatest value. `log: true` draws small values as often as
large ones, `int: true` draws whole numbers.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ur4rec_recbole.core.config import is_finite
from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.core.yaml_files import read_mapping

# What makes scores incomparable, or is each trial's own.
FIXED = (
    "model", "dataset", "data_path", "metrics", "topk", "valid_metric", "eval_args", "eval_type",
    "evaluated_parts", "repeatable", "run_folder", "checkpoint_dir", "seed", "nproc",
)  # fmt: skip
REMEDY = "Write for example {low: 0.001, high: 0.01, log: true} or {choices: [1, 2]}."


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; with `whole` integers, with `log` by powers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def extremes(self) -> tuple[Any, ...]:
        """Return values that a setting must be able to hold if it can hold them all."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of some values, each by its label: lists and mappings are no values to an engine."""

    by_label: Mapping[str, Any]

    def extremes(self) -> tuple[Any, ...]:
        """Return all values."""
        return tuple(self.by_label.values())


Space = Mapping[str, Range | Choices]


def read_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a space file; what it holds is checked by `make_space`."""
    found = read_mapping(path, "--space")
    if not found:
        raise InputError(f"--space {path}", "must name settings to search", "none", REMEDY)
    make_space(found, path)
    return found


def make_space(found: Mapping[str, Any], path: str | os.PathLike[str]) -> Space:
    """Return a space; whatever cannot be one is an `InputError` that names the file."""
    return {key: _dimension(f"{path}: {key}", key, value) for key, value in found.items()}


def check_values(
    path: str | os.PathLike[str], space: Space, check: Callable[[Mapping[str, Any]], object]
) -> None:
    """Let `check` see each value that a setting may get, with all others left as configured."""
    for key, dimension in space.items():
        for value in dimension.extremes():
            try:
                check({key: value})
            except InputError as error:
                what, *rest = error.args
                raise InputError(f"{path}: {key}: {what}", *rest) from error


def values(space: Space, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that an engine has drawn: choices come as their labels."""
    found = {}
    for key, value in drawn.items():
        dimension = space[key]
        found[key] = dimension.by_label[value] if isinstance(dimension, Choices) else value
    return found


def _dimension(what: str, key: str, value: Any) -> Range | Choices:
    if key.partition(".")[0] in FIXED:
        raise InputError(
            what, "must be the same for all trials", "a setting to search",
            "Remove it from the space; set it in a configuration file.",
        )  # fmt: skip
    if not isinstance(value, Mapping):
        raise InputError(what, "must be {low, high} or {choices}", repr(value)[:200], REMEDY)
    known = ("choices",) if "choices" in value else ("low", "high", "log", "int")
    for name in value:
        if name not in known:
            remedy = nearest(name, known) or REMEDY
            raise InputError(f"{what}: {name}", f"must be one of {list(known)}", "it", remedy)
    return _choices(what, value["choices"]) if "choices" in value else _range(what, value)


def _choices(what: str, given: Any) -> Choices:
    try:
        listed = given if isinstance(given, list) else []
        labels = {each if isinstance(each, str) else _label(each): each for each in listed}
    except (TypeError, ValueError) as error:  # a set, a number that is not finite
        rule = "must be texts, finite numbers, lists or mappings"
        raise InputError(f"{what}: choices", rule, error, REMEDY) from error
    if len(labels) < max(len(listed), 2):
        raise InputError(
            f"{what}: choices", "must list two different values or more", repr(given)[:200],
            "A single value belongs into a configuration file.",
        )  # fmt: skip
    return Choices(labels)


def _label(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _range(what: str, given: Mapping[str, Any]) -> Range:
    log, whole = given.get("log", False), given.get("int", False)
    for name, flag in (("log", log), ("int", whole)):
        if not isinstance(flag, bool):
            raise InputError(f"{what}: {name}", "must be true or false", repr(flag), REMEDY)
    for name in ("low", "high"):
        if not is_finite(given.get(name)) or (whole and type(given[name]) is not int):
            rule = "must be a whole number" if whole else "must be a finite number"
            raise InputError(f"{what}: {name}", rule, repr(given.get(name)), REMEDY)
    kind = int if whole else float
    low, high = kind(given["low"]), kind(given["high"])
    if low >= high or abs(low) >= 2**53 or abs(high) >= 2**53:
        rule = "must be a number below high, and both less than 2^53 in size"
        raise InputError(f"{what}: low", rule, f"{low} and {high}", REMEDY)
    if log and low <= 0:
        raise InputError(f"{what}: low", "must be above 0 for log: true", low, REMEDY)
    return Range(low, high, log, whole)
