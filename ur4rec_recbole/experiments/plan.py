"""Plan: which models are run, with which settings and seeds; read from YAML.

dataset: ml-100k
seeds: 5                      # or a list; a number stands for 2020, 2021, ...
baseline: SASRec tuned        # the entry that all others are compared with
evaluate: [valid, test]       # [valid]: an ablation, which never reads test data
model, config_files, settings, start_from        # of every entry, unless it says otherwise
entries:
  - {name, model, config_files, settings, seeds, group, pretrain, start_from, with_images}
images: dataset/ml-100k/item_image.npz           # where it exists, see `with_images`
tune: {name, model, settings, search, output}    # or a list of them, see experiments/tuning.py

An entry's own settings override its files', which override the plan's.

group         what the entry reads (ids, times, content): entries of a group are compared.
pretrain      settings of a run that comes first and whose model file becomes `pre_model_path`.
start_from    an entry whose first stage is trained once per seed, for all that start from it: they
              take its encoder and run their later stages alone. `~` trains an entry as a whole.
with_images   True: the entry is run a second time with the image table. only: just with it.

plan.py -> jobs -> a process each (benchmark.py, benchmark_job.py) -> run folders -> reports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import configuration, defaults
from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.core.yaml_files import find_file, read_mapping
from ur4rec_recbole.data.loading import check_files
from ur4rec_recbole.experiments.jobs import (
    FIRST_SEED,
    Entry,
    Job,
    file_values,
    slug,
    with_file_values,
)
from ur4rec_recbole.experiments.plan_checks import (
    ENTRY,
    PLAN,
    check_keys,
    check_type,
    read_seeds,
    refuse,
)
from ur4rec_recbole.model.stages import read_stages
from ur4rec_recbole.registration import check_keys as check_settings

PARTS = ("valid", "test")
WITH_IMAGES = ", with images"  # behind the name of an entry that is run a second time


@dataclass(frozen=True)
class Plan:
    """The content of a plan file; `tune` holds mappings, which tuning.py reads."""

    dataset: str
    seeds: tuple[int, ...]
    baseline: str | None
    settings: Mapping[str, Any]
    entries: tuple[Entry, ...]
    tune: tuple[Mapping[str, Any], ...] = ()

    def jobs(self) -> list[Job]:
        """Return all runs, one seed of every entry before the next seed of any."""
        seeds = max(len(entry.seeds) for entry in self.entries)
        return [
            self._job(entry, entry.seeds[turn])
            for turn in range(seeds)
            for entry in self.entries
            if turn < len(entry.seeds)
        ]

    def values(self, entry: Entry) -> dict[str, Any]:
        """Return an entry's settings: its own override its files', which override the plan's."""
        outputs = [search.get("output") for search in self.tune]
        for file in entry.config_files:
            if file in outputs and not find_file(file).is_file():
                refuse(
                    f"Entry {entry.name}: {file}", "must be a file that a search has made",
                    "none of that name",
                    "Run the command with --tune first, or leave the entry out by --models.",
                )  # fmt: skip
        found = {**self.settings, **file_values(entry.config_files), **entry.settings}
        if isinstance(found.get("members"), list):
            found["members"] = [with_file_values(each) for each in found["members"]]
        return found

    def _job(self, entry: Entry, seed: int) -> Job:
        settings = {**self.values(entry), "seed": seed}
        first = None
        if entry.start_from is not None:
            settings, first = self._later_stages(entry, settings)
        return Job(
            f"{slug(entry.name)}-{seed}", entry.name, entry.model, self.dataset, settings,
            entry.pretrain, first,
        )  # fmt: skip

    def _later_stages(
        self, entry: Entry, settings: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return an entry's settings without its first stage, and those of the one it starts from.

        The latter are another entry's, whose first stage must be of the same name.
        """
        start = next((each for each in self.entries if each.name == entry.start_from), entry)
        shared = {**self.values(start), "seed": settings["seed"], "evaluated_parts": ["valid"]}
        names = []
        for values in (settings, shared):
            values.setdefault("stages", defaults()["stages"])
            names.append([stage.name for stage in read_stages({**defaults(), **values})])
        if names[0][0] != names[1][0] or len(names[0]) < 2:
            refuse(
                f"Entry {entry.name}",
                f"must begin with {names[1][0]}, which it starts from, and have more stages",
                names[0],
            )
        shared["stages"] = shared["stages"][:1]
        return {**settings, "stages": settings["stages"][1:]}, shared


def read_plan(
    path: Path,
    seeds: int | None = None,
    images: Path | None = None,
    data_path: Path | None = None,
    tables: Path | None = None,
) -> Plan:
    """Read and check a plan file; `seeds`, `images` and `data_path` replace the plan's own.

    `tables` is what {tables} stands for in the settings: a folder of tables that cannot be shipped.
    """
    values = _with_folder(read_mapping(path, "plan"), str(tables or "tables"))
    if data_path is not None:
        values["settings"] = {**(values.get("settings") or {}), "data_path": str(data_path)}
    more = {"seeds": seeds, "images": None if images is None else str(images)}
    given = {key: each for key, each in more.items() if each is not None}
    return make_plan({**_as_entries(values), **given}, str(path))


def _with_folder(value: Any, tables: str) -> Any:
    """Write a folder's name wherever a value has {tables}."""
    if isinstance(value, Mapping):
        return {key: _with_folder(each, tables) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_folder(each, tables) for each in value]
    return value.replace("{tables}", tables) if isinstance(value, str) else value


def make_plan(values: Mapping[str, Any], source: str = "plan") -> Plan:
    """Check a plan's values."""
    check_keys(source, values, PLAN, ("dataset", "entries"))
    seeds = read_seeds(values.get("seeds", 1), source, FIRST_SEED)
    evaluated = values.get("evaluate")
    settings = {**file_values(values.get("config_files") or ()), **(values.get("settings") or {})}
    if evaluated is not None:
        if not evaluated or not set(evaluated) <= set(PARTS):
            refuse(f"{source}: evaluate", f"must list some of {list(PARTS)}", evaluated)
        settings["evaluated_parts"] = list(evaluated)
    common = {key: values[key] for key in ("model", "start_from") if key in values}
    tune = values.get("tune") or []
    table = values.get("images")
    images = table if table and find_file(table).is_file() else None
    entries = tuple(
        entry
        for each in values["entries"]
        for entry in _entries(each, common, seeds, images, source)
    )
    if not entries:
        refuse(f"{source}: entries", "must be run with images or without", "none that is")
    plan = Plan(
        values["dataset"], seeds, values.get("baseline"), settings, entries,
        tuple(tune if isinstance(tune, list) else [tune]),
    )  # fmt: skip
    _check_names(plan, source)
    return plan


def _check_names(plan: Plan, source: str) -> None:
    names = [entry.name for entry in plan.entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        refuse(f"{source}: entries", "must have names of their own", twice)
    wanted = {f"{source}: entry {each.name}: start_from": each.start_from for each in plan.entries}
    for what, name in {f"{source}: baseline": plan.baseline, **wanted}.items():
        if name is not None and name not in names:
            refuse(what, "must be an entry's name", repr(name), nearest(name, names))
    models = {entry.name: entry.model for entry in plan.entries}
    for entry in plan.entries:
        both = {entry.model, models.get(entry.start_from or "", entry.model)}
        if entry.start_from is not None and (both != {"UR4Rec"} or entry.pretrain):
            refuse(f"{source}: entry {entry.name}: start_from", "is for UR4Rec", sorted(both))


def _entries(
    values: Mapping[str, Any],
    common: Mapping[str, Any],
    seeds: tuple[int, ...],
    images: str | None,
    source: str,
) -> list[Entry]:
    """Read one entry: none, or two where it is run with the image table alone, or too."""
    what = f"{source}: entry {values.get('name')!r}"
    values = {**common, **values}
    check_keys(what, values, ENTRY, ("name", "model"))
    own = values.get("seeds")
    found = Entry(
        values["name"],
        values["model"],
        tuple(values.get("config_files") or ()),
        values.get("settings") or {},
        seeds if own is None else read_seeds(own, what, FIRST_SEED),
        values.get("pretrain") or {},
        values.get("start_from"),
        values.get("group"),
    )
    chosen = values.get("with_images", False)
    if chosen not in (True, False, "only"):
        refuse(f"{what}: with_images", "must be True, False or only", repr(chosen))
    made = [] if chosen == "only" else [found]
    if chosen and images:
        own_images = {"item_image_table": images, **found.settings}
        made.append(replace(found, name=found.name + WITH_IMAGES, settings=own_images))
    return made


def _as_entries(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read the former form of an ablation's plan: a base, and variants that share its first stage.

    Variants with `whole: True` do not; the others start from the first one.
    """
    if not {"base", "variants"} <= set(values):
        return dict(values)
    base, variants = values["base"], values["variants"]
    check_type("plan: base", base, dict)
    check_type("plan: variants", variants, list)
    for each in variants:
        check_type("plan: variant", each, dict)
    top = {key: base[key] for key in ("dataset", "config_files") if key in base}
    others = {key: each for key, each in base.items() if key not in top}
    first = next((each.get("name") for each in variants if not each.get("whole")), None)
    entries = [
        {key: value for key, value in each.items() if key != "whole"}
        | ({"start_from": None if each.get("whole") else first})
        for each in variants
    ]
    rest = {key: each for key, each in values.items() if key not in ("base", "variants")}
    fixed = {"model": "UR4Rec", "evaluate": ["valid"], "settings": others, "entries": entries}
    return {**top, **fixed, **rest}


def check_configurations(plan: Plan) -> None:
    """Raise `InputError` for settings with which runs could not start, or not be compared."""
    splits: dict[str, str] = {}
    for entry in plan.entries:
        job = plan._job(entry, entry.seeds[0])
        given = [job.settings, *([{**job.settings, **job.pretrain}] if job.pretrain else [])]
        for settings in [*given, *([job.first] if job.first else [])]:
            try:
                split = _check(job.model, plan.dataset, settings)
            except InputError as error:
                what, rule, received, remedy = error.args
                raise InputError(f"Entry {entry.name}: {what}", rule, received, remedy) from error
            splits.setdefault(split, entry.name)
        if len(splits) > 1:
            raise InputError(
                "eval_args", "must be the same of all entries, which are compared",
                f"those of {' and '.join(splits.values())}: {' and '.join(splits)}",
                "Set them in the plan's settings; RecBole's defaults differ by the kind of model.",
            )  # fmt: skip


def _check(model: str, dataset: str, settings: Mapping[str, Any]) -> str:
    """Check the configuration of a run; return how it splits its data."""
    with settings_from():
        config = configuration(model, dataset, [], json.loads(json.dumps(settings)))
    check_settings(config)
    check_files(config)
    if model == "UR4Rec":
        read_stages(config)
    told = {key: config["eval_args"][key] for key in ("split", "order", "group_by")}
    return json.dumps(told, sort_keys=True)
