"""Configuration: RecBole's Config, with unknown, missing and mistyped keys made errors.

The schema of a model is its defaults/<model>.yaml itself, and every_model.yaml: their keys, and the
`# (type, rule)` behind each. defaults/recbole.yaml holds the rules of RecBole's own keys.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from recbole.config import Config
from recbole.evaluator import metric_types
from recbole.evaluator.register import metric_information
from recbole.utils import EvaluatorType, argument_list

from ur4rec_recbole.core.errors import InputError, first_line, nearest
from ur4rec_recbole.core.yaml_files import parse

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "dict": (dict,),
    "~": (type(None),),
}
# RecBole's keys of several processes: what asks for them, and what tells one of them its place.
ASKING = ("nproc", "world_size", "ip", "port", "group_offset")
PLACE = ("local_rank", "world_size", "ip", "port", "offset")
# Keys that RecBole reads but lists nowhere.
UNLISTED = frozenset(
    "model dataset config_files transform enable_amp enable_scaler nproc ip port world_size "
    "group_offset local_rank offset benchmark_filename reg_weight require_pow wandb_project "
    "shuffle worker tail_ratio".split()
)

# What RecBole's Config raises for what it cannot use.
REFUSALS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, AssertionError)


def configuration(
    model: Any, dataset: Any, files: Sequence[str], settings: Mapping[str, Any] | None
) -> Config:
    """Return RecBole's Config; whatever it refuses is an `InputError`."""
    try:
        return Config(model, dataset, list(files) or None, settings)
    except InputError:
        raise
    except REFUSALS as error:
        raise InputError(
            "Configuration", "must be accepted by RecBole", first_line(error),
            "Correct the key that it names.",
        ) from error  # fmt: skip


def is_finite(value: Any) -> bool:
    """Tell whether a value is a number, neither infinite nor nan; a bool is none here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


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
            return False  # Python counts a bool as an int, YAML does not
        kinds = [kind for name in self.types for kind in TYPES[name]]
        if not isinstance(value, tuple(kinds)):
            return False
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return False  # beyond what torch and C can hold
        if value is None or not self.bound:
            return True
        if self.bound.startswith("one of "):
            return value in self.bound.removeprefix("one of ").split("|")
        if not is_finite(value):
            return False
        number: Any = value
        if " to " in self.bound:
            low, high = map(float, self.bound.split(" to "))
            return low <= number <= high
        sign, limit = self.bound.split()
        return number > float(limit) or (sign == ">=" and number == float(limit))

    def __str__(self) -> str:
        return " or ".join(self.types) + (f", {self.bound}" if self.bound else "")


def defaults_file(model: str) -> Path:
    """Return the YAML file of a model of this package."""
    return Path(__file__).parents[1] / "defaults" / f"{model}.yaml"


def _documented(model: str) -> str:
    """Return the YAML text of the model's own keys and of the keys that every model has."""
    files = {defaults_file(model), defaults_file("every_model")}
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(files))


@lru_cache
def schema(model: str = "UR4Rec") -> dict[str, Rule]:
    """Return the rules of a model's own keys, as their YAML files document them."""
    return _rules(_documented(model))


@lru_cache
def recbole_rules() -> dict[str, Rule]:
    """Return the rules of RecBole's own keys."""
    return _rules(defaults_file("recbole").read_text(encoding="utf-8"))


def _rules(text: str) -> dict[str, Rule]:
    line = re.compile(r"^(\w+):.*#\s*\(([^),]*)(?:, ([^)]*))?\)", re.MULTILINE)
    found = line.findall(text)
    return {key: Rule(tuple(types.split(" or ")), bound) for key, types, bound in found}


def check_known(keys: Iterable[str], known: Iterable[str], model: str = "UR4Rec") -> None:
    """Raise `InputError` for a key that neither the model nor RecBole knows."""
    own = schema(model) if defaults_file(model).exists() else {}
    allowed = {*own, *known, *recbole_rules(), *UNLISTED}
    for name in ("general", "training", "evaluation", "dataset"):
        allowed |= set(getattr(argument_list, f"{name}_arguments"))
    for key in keys:
        if key not in allowed:
            raise InputError(
                f"Configuration key {key!r}",
                f"must be known to {model} or RecBole",
                "an unknown key",
                nearest(key, allowed) or f"See the keys of {model}.",
            )


def check_values(values: Mapping[str, Any], model: str = "UR4Rec") -> None:
    """Raise `InputError` for a key that is missing or breaks its rule, the model's or RecBole's."""
    for key in schema(model):
        if key not in values:
            raise InputError(
                f"Configuration key {key!r}", "must be set", "nothing", f"See {model}.yaml."
            )
    check_rules(values, schema(model))
    check_rules(values, recbole_rules())
    check_contents(values)


def check_contents(values: Any) -> None:
    """Raise `InputError` for a list or mapping whose contents its rule does not tell."""
    parts = values["evaluated_parts"] if "evaluated_parts" in values else None
    if parts is not None and (not parts or not all(each in ("valid", "test") for each in parts)):
        _refuse("evaluated_parts", "must list valid, test or both", parts, "[valid, test]")
    clipping = values["clip_grad_norm"] if "clip_grad_norm" in values else None
    if clipping is not None:
        limit: Any = clipping.get("max_norm") if isinstance(clipping, Mapping) else None
        arguments = ("max_norm", "norm_type", "error_if_nonfinite", "foreach")
        if not is_finite(limit) or limit <= 0 or not set(clipping) <= set(arguments):
            _refuse("clip_grad_norm", "must be arguments of torch's clip_grad_norm_", clipping,
                    "{max_norm: 5}")  # fmt: skip
    milestones = values["milestones"] if "milestones" in values else None
    for rates in (milestones or {}).values():
        sound = isinstance(rates, Mapping) and all(
            is_finite(rate) and 0 <= rate <= 1 for rate in rates.values()
        )
        if not sound:
            _refuse("milestones", "must hold rates from 0 to 1 by stage", rates,
                    "{ml-100k: {pretrain_sasrec: 0.35}}")  # fmt: skip


def _refuse(key: str, rule: str, received: Any, example: str) -> NoReturn:
    raise InputError(
        f"Configuration key {key!r}", rule, repr(received), f"Write for example {example}."
    )


def check_rules(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Raise `InputError` for a value that breaks its key's rule."""
    for key, rule in rules.items():
        if key in values and not rule.admits(values[key]):
            raise InputError(
                f"Configuration key {key!r}",
                f"must be {rule}",
                f"{values[key]!r} ({type(values[key]).__name__})",
                "Correct it; the files in ur4rec_recbole/defaults explain the keys.",
            )


def check_metrics(values: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `metrics`, `topk` and `valid_metric` belong together."""
    metrics, topk = values["metrics"], values["topk"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    topk = [topk] if isinstance(topk, int) else topk
    names = [each for each in metrics or () if isinstance(each, str)]
    unknown = [each for each in metrics or () if str(each).lower() not in metric_types]
    if unknown or not names or len(names) < len(metrics):
        _refuse("metrics", f"must list some of {sorted(metric_types)}", metrics, "[Hit, NDCG]")
    kinds = {metric_types[name.lower()] for name in names}
    if len(kinds) > 1:
        raise InputError(
            "Configuration key 'metrics'", "must all measure rankings, or all predicted values",
            names, "Remove those of one kind.",
        )  # fmt: skip
    if not topk or not all(type(k) is int and k > 0 for k in topk):
        _refuse("topk", "must list whole numbers above 0", topk, "[5, 10]")
    measured = [each for name in names for each in _measured(name.lower(), topk)]
    chosen = values["valid_metric"]
    if not isinstance(chosen, str) or chosen.lower() not in measured:
        raise InputError(
            "Configuration key 'valid_metric'", f"must be one of {measured}", repr(chosen),
            "Choose one of these, or add its metric to metrics and its cut-off to topk.",
        )  # fmt: skip


def _measured(metric: str, topk: Iterable[int]) -> list[str]:
    """Return the names of a metric's values: one per cut-off, or its own name."""
    cut_off = {"rec.topk", "rec.items"} & set(metric_information[metric])
    return [f"{metric}@{k}" for k in topk] if cut_off else [metric]


def check_split(how: Any) -> None:
    """Raise `InputError` for `eval_args` that RecBole cannot read."""
    known = {"split", "order", "group_by", "mode"}
    if not isinstance(how, Mapping) or not set(how) <= known:
        _refuse_split(f"must be a mapping of {sorted(known)}", how)
    split = how.get("split")
    if not isinstance(split, Mapping) or len(split) != 1 or not set(split) <= {"RS", "LS", "TS"}:
        _refuse_split("must have a split {LS: ...}, {RS: [...]} or {TS: [...]}", how)
    [(kind, value)] = split.items()
    if kind == "LS" and value not in ("valid_and_test", "valid_only", "test_only"):
        _refuse_split("must have LS: valid_and_test, valid_only or test_only", how)
    shares: Any = value if isinstance(value, list | tuple) else [None]
    sound = all(is_finite(each) for each in shares)
    moments = kind == "TS" and len(shares) == 2 and sound
    if moments and not shares[0] < shares[1]:
        _refuse_split("must have TS: [t1, t2], the earlier moment first", how)
    sound = sound and all(each >= 0 for each in shares) and sum(shares) > 0
    if kind != "LS" and not moments and not (sound and len(shares) == 3):
        _refuse_split(f"must have {kind}: [train, valid, test], three shares", how)
    for key, choices in (("order", ("TO", "RO")), ("group_by", ("user", "none", None))):
        if how.get(key, choices[0]) not in choices:
            _refuse_split(f"must have {key} one of {choices}", how)
    modes = how.get("mode", "full")
    for mode in modes.values() if isinstance(modes, Mapping) else [modes]:
        if not isinstance(mode, str) or not re.fullmatch("full|labeled|(uni|pop)[1-9][0-9]*", mode):
            _refuse_split("must have the mode full, labeled, uniN or popN", how)


def check_modes(values: Mapping[str, Any]) -> None:
    """Raise `InputError` for labelled rows with metrics of rankings, which need candidates.

    To be called after `check_metrics` and `check_split`.
    """
    metrics, modes = values["metrics"], values["eval_args"].get("mode", "full")
    first = metrics if isinstance(metrics, str) else metrics[0]
    given = modes.values() if isinstance(modes, Mapping) else [modes]
    if "labeled" in given and metric_types[first.lower()] == EvaluatorType.RANKING:
        _refuse_split(
            "must not have the mode labeled with metrics of rankings", values["eval_args"]
        )


def _refuse_split(rule: str, received: Any) -> NoReturn:
    _refuse("eval_args", rule, received, "{split: {LS: valid_and_test}, order: TO, mode: full}")


def defaults(model: str = "UR4Rec") -> dict[str, Any]:
    """Return a model's defaults."""
    return parse(_documented(model))
