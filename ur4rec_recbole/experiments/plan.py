"""Plan: which models a benchmark runs, with which settings and seeds; read from YAML.

dataset: ml-100k
seeds: 5                      # or a list; a number stands for 2020, 2021, ...
baseline: SASRec tuned        # the entry that all others are compared with
settings: {...}               # of every run
entries:
  - {name, model, config_files, settings, seeds, pretrain}
tune: {name, model, settings, search, output}   # see tuning.py

An entry's own settings come over its files', and those over the plan's. `pretrain` holds settings
of a run that comes first and whose model file becomes `pre_model_path` (S3Rec).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import read_mapping

FIRST_SEED = 2020
KEYS = {"dataset", "seeds", "baseline", "settings", "entries", "tune"}


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    Attributes
    ----------
    name
        Shown in the report; unique.
    model
        As RecBole knows it.
    config_files, settings
        As `quick_start.run` takes them.
    seeds
        One run each.
    pretrain
        Settings of a run before each; none where empty.
    """

    name: str
    model: str
    config_files: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (FIRST_SEED,)
    pretrain: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One run: an entry with one seed. Its description, as JSON, is all that the run is given."""

    id: str
    entry: str
    model: str
    dataset: str
    config_files: tuple[str, ...]
    settings: Mapping[str, Any]
    pretrain: Mapping[str, Any]

    def description(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self) | {"config_files": list(self.config_files)}


@dataclass(frozen=True)
class Plan:
    """What a plan file says; `tune` stays a mapping that tuning.py reads."""

    dataset: str
    seeds: tuple[int, ...]
    baseline: str | None
    settings: Mapping[str, Any]
    entries: tuple[Entry, ...]
    tune: Mapping[str, Any] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """Return all runs, one seed of every entry before the next seed of any."""
        seeds = max(len(entry.seeds) for entry in self.entries)
        return [
            self._job(entry, entry.seeds[turn])
            for turn in range(seeds)
            for entry in self.entries
            if turn < len(entry.seeds)
        ]

    def _job(self, entry: Entry, seed: int) -> Job:
        values = {**self.settings, **file_values(entry.config_files), **entry.settings}
        settings = {**values, "seed": seed}
        if settings.get("members"):
            settings["members"] = [_with_file_values(each) for each in settings["members"]]
        return Job(
            f"{_slug(entry.name)}-{seed}", entry.name, entry.model, self.dataset,
            entry.config_files, settings, entry.pretrain,
        )  # fmt: skip


def read_plan(path: Path, seeds: int | None = None) -> Plan:
    """Read and check a plan file; `seeds` replaces the plan's own number."""
    if not path.is_file():
        raise InputError(
            f"Plan {path}", "must be a YAML file", "none of that name",
            "Name a plan, or run where properties/benchmark.yaml is.",
        )  # fmt: skip
    values = read_mapping(path, "plan")
    if seeds is not None and isinstance(values, Mapping):
        values = {**values, "seeds": seeds}
    return make_plan(values, str(path))


def make_plan(values: Any, source: str = "plan") -> Plan:
    """Check a plan's values."""
    if not isinstance(values, Mapping) or not values.get("entries") or "dataset" not in values:
        _refuse(source, "must be a mapping with dataset and entries", values)
    _check_keys(source, values, KEYS)
    seeds = read_seeds(values.get("seeds", 1), source)
    entries = tuple(_entry(each, seeds, source) for each in values["entries"])
    names = [_slug(entry.name) for entry in entries]
    if len(set(names)) < len(names):
        _refuse(f"{source}: entries", "must have names of their own", names)
    baseline = values.get("baseline")
    if baseline is not None and baseline not in {entry.name for entry in entries}:
        _refuse(f"{source}: baseline", "must be an entry's name", repr(baseline))
    settings, tune = values.get("settings") or {}, values.get("tune") or {}
    return Plan(str(values["dataset"]), seeds, baseline, settings, entries, tune)


def read_seeds(value: Any, source: str) -> tuple[int, ...]:
    """Read a number of seeds or a list of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return tuple(range(FIRST_SEED, FIRST_SEED + value))
    if isinstance(value, Sequence) and value and all(isinstance(each, int) for each in value):
        return tuple(value)
    return _refuse(f"{source}: seeds", "must be a number of seeds or a list of them", repr(value))


def _entry(values: Any, seeds: tuple[int, ...], source: str) -> Entry:
    if not isinstance(values, Mapping) or not {"name", "model"} <= set(values):
        _refuse(f"{source}: entry", "must be a mapping with name and model", values)
    _check_keys(f"{source}: entry {values['name']}", values, set(Entry.__dataclass_fields__))
    own = values.get("seeds")
    return Entry(
        str(values["name"]),
        str(values["model"]),
        tuple(values.get("config_files") or ()),
        values.get("settings") or {},
        seeds if own is None else read_seeds(own, f"{source}: entry {values['name']}"),
        values.get("pretrain") or {},
    )


def file_values(files: Sequence[str]) -> dict[str, Any]:
    """Return what the files set: code's settings would come over them otherwise."""
    found: dict[str, Any] = {}
    for file in files:
        found |= read_mapping(file, "config_files")
    return {key: value for key, value in found.items() if key not in ("model", "dataset")}


def _with_file_values(member: Any) -> Any:
    """Put what a member's files say into its recipe, so that a changed file is another setting."""
    if not isinstance(member, Mapping):
        return member
    own = {key: value for key, value in member.items() if key != "config_files"}
    return {**file_values(member.get("config_files") or ()), **own}


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _check_keys(what: str, values: Mapping[str, Any], known: set[str]) -> None:
    if not set(values) <= known:
        _refuse(what, f"takes {sorted(known)}", sorted(set(values) - known))


def _refuse(what: str, rule: str, received: object) -> Any:
    raise InputError(what, rule, received, "Correct the plan; plan.py tells its format.")
