"""The runs of a benchmark, gathered: by entry, with quality, cost and what they differ by.

run folders -> read -> the numbers that benchmark_tables.py and benchmark_plots.py show.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import read_json
from ur4rec_recbole.core.shapes import NUMBER, Maybe, check
from ur4rec_recbole.data.modalities import ITEM_TABLES, MORE_TABLES
from ur4rec_recbole.evaluation.paired import Runs
from ur4rec_recbole.experiments.benchmark_job import pretraining
from ur4rec_recbole.experiments.jobs import INDEX
from ur4rec_recbole.model.stages import read_stages
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.keeping import MASKED

REMEDY = "Run `ur4rec benchmark` again, or remove the file."
OURS = ("UR4Rec", "UR4RecEnsemble")
SHARE = 0.95  # of a best validation quality, which the time axis asks for


@dataclass
class Benchmark:
    """What a folder of runs holds.

    Attributes
    ----------
    folder
        The benchmark's.
    baseline
        Entry that the others are compared with, or None.
    runs
        Ended runs by entry, in the plan's order.
    failures
        Traceback by run.
    missing
        Runs that have not ended.
    groups
        By entry, what it reads, where the plan says so.
    """

    folder: Path
    baseline: str | None
    runs: dict[str, list[RunFolder]]
    failures: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    _metrics: dict[Path, Mapping[str, Any]] = field(default_factory=dict)
    _epochs: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)
    _ranks: dict[Path, dict[str, np.ndarray]] = field(default_factory=dict)

    def metrics(self, run: RunFolder) -> Mapping[str, Any]:
        """Return what a run's metrics.json holds, read once."""
        if run.path not in self._metrics:
            self._metrics[run.path] = run.read("metrics.json") or {}
        return self._metrics[run.path]

    def values(self, entry: str, part: str, protocol: str, metric: str) -> np.ndarray:
        """Return a metric's values over the seeds of an entry; nan where a run has it not."""
        found = [self.metrics(run) for run in self.runs[entry]]
        read = [each.get(part, {}).get(protocol, {}).get(metric) for each in found]
        return np.array([np.nan if each is None else each for each in read], dtype=float)

    def ranks(self, entry: str, part: str, protocol: str) -> Runs:
        """Return users and ranks of each run that has them, as `paired` takes them."""
        for run in self.runs[entry]:
            if run.path not in self._ranks:
                self._ranks[run.path] = run.ranks()
        found = [self._ranks[run.path] for run in self.runs[entry]]
        keys = f"{part}/users", f"{part}/{protocol}"
        return [(each[keys[0]], each[keys[1]]) for each in found if set(keys) <= set(each)]

    def by_seed(self, entry: str, metric: str) -> dict[int, float]:
        """Return validation values by seed, with the history masked where that was measured."""
        found: dict[Any, float] = {}
        for run in self.runs[entry]:
            measured = self.metrics(run).get("valid", {})
            values: Mapping[str, float] = measured.get("full_masked", {})
            values = values or next(iter(measured.values()), {})
            if metric in values:
                found[run.about.get("seed")] = values[metric]
        return found

    def seconds(self, entry: str) -> np.ndarray:
        """Return each run's wall-clock seconds, preparation and evaluation included."""
        found = [self.metrics(run) for run in self.runs[entry]]
        read = [each.get("wall_seconds", each.get("seconds", np.nan)) for each in found]
        return np.array(read, dtype=float)

    def is_ours(self, entry: str) -> bool:
        """Tell whether an entry is a UR4Rec, or an ensemble that has one among its members."""
        models = [self.runs[entry][0].about["model"]]
        for each in self._config(entry).get("members") or []:  # recipes, or names of folders
            named = each["model"] if isinstance(each, Mapping) else Path(str(each)).name
            models.append(named.partition("-")[0])
        return "UR4Rec" in models

    def is_in_sample(self, entry: str) -> bool:
        """Tell whether some numbers of the model were chosen on validation, beside its epoch."""
        config = self._config(entry)
        of_content = any(config.get(key) for key in (*ITEM_TABLES.values(), MORE_TABLES))
        neighbours = of_content and config.get("n_neighbour_items")
        trend = config.get("request_time") and config.get("trend_half_lives")
        fitted = self.runs[entry][0].about["model"] == "UR4RecEnsemble"
        others = ("cooccurrence_window", "rare_item_cost", "new_item_share")
        return fitted or bool(neighbours or trend or any(config.get(key) for key in others))

    def _config(self, entry: str) -> dict[str, Any]:
        """Return the configuration of an entry's first run by key."""
        about = self.runs[entry][0].about
        return {key: each["value"] for key, each in about.get("config", {}).items()}

    def best(self, entries: Iterable[str]) -> str | None:
        """Return the entry that is best on validation, which is how one is chosen; None of none."""
        means = {name: list(self.by_seed(name, "ndcg@10").values()) for name in entries}
        known = {name: float(np.mean(values)) for name, values in means.items() if values}
        return max(known, key=lambda name: known[name]) if known else None

    def thresholds(self) -> dict[str, float]:
        """Return `SHARE` of the best validation NDCG@10, averaged over the seeds, of each rival.

        A rival is any trained model that is not UR4Rec; without one, any trained model.
        """
        rivals = [entry for entry in self.runs if self.runs[entry][0].about["model"] not in OURS]
        found: dict[str, float] = {}
        for entry in rivals or self.runs:
            best = [max(quality(row) for row in rows) for rows in self._curves(entry)]
            if best:
                found[entry] = SHARE * float(np.mean(best))
        return found

    def time_to(self, entry: str, threshold: float) -> list[float | None]:
        """Return each run's seconds until an epoch validated at the threshold; None if none did."""
        return [seconds_to(rows, threshold) for rows in self._curves(entry)]

    def at_limit(self, entry: str) -> int:
        """Count the runs whose training, or a stage of it, the epoch limit ended."""
        return sum(map(_at_limit, self.runs[entry]))

    def _curves(self, entry: str) -> list[list[dict[str, Any]]]:
        """Return the validated epochs of each run that has several, and NDCG@10 in some of them.

        A single one is no training: an ensemble chose its weights, a training-free model was made.
        """
        if entry not in self._epochs:
            self._epochs[entry] = [epochs(run) for run in self.runs[entry]]
        rows = self._epochs[entry]
        several = (each for each in rows if len(each) > 1)
        validated = ([row for row in each if quality(row) is not None] for each in several)
        return [each for each in validated if each]


def _at_limit(run: RunFolder) -> bool:
    settings = {key: each["value"] for key, each in run.about["config"].items()}
    stages = run.read("stages.json")
    if stages:
        limits = [stage.epochs for stage in read_stages(settings)]
        pairs = zip(stages, limits, strict=False)  # a run of others may not have ended
        return any(made["epochs"] >= limit > 0 for made, limit in pairs)
    return 1 < settings["epochs"] <= len(run.epochs())


def epochs(run: RunFolder) -> list[dict[str, Any]]:
    """Return a run's epochs; the seconds of a pretraining before it count as elapsed."""
    file = pretraining(run.path) / "metrics.json"
    before = check(read_json(file), Maybe({"seconds": NUMBER}), file, REMEDY)
    spent = before["seconds"] if before else 0.0
    return [row | {"elapsed": spent + row.get("elapsed", 0.0)} for row in run.epochs()]


def quality(row: dict[str, Any]) -> Any:
    """Return an epoch's validation NDCG@10.

    With the history masked where that was measured, which is always for RecBole's models; UR4Rec
    validates that way itself with `exclude_history`, and without it against the harder candidates.
    """
    return row.get(MASKED, row.get("ndcg@10"))


def seconds_to(rows: list[dict[str, Any]], threshold: float) -> float | None:
    """Return the wall-clock seconds of the first epoch that reached a validation quality."""
    reached = (row["elapsed"] for row in rows if quality(row) >= threshold)
    return next(reached, None)


def read(folder: Path, baseline: str | None = None) -> Benchmark:
    """Read a benchmark's folder, or any folder of run folders (each model is an entry then).

    `baseline` is an entry to compare with, instead of the plan's.
    """
    index = _index(folder)
    paths = sorted(path.parent for path in folder.glob("*/run.json"))
    opened = {path.name: RunFolder.open(path) for path in paths}
    owners = index["runs"] if index else {name: run.about["model"] for name, run in opened.items()}
    found = Benchmark(folder, index["baseline"] if index else None, {})
    for name, entry in owners.items():
        failed = folder / "jobs" / f"{name}.failed.json"
        if failed.exists():
            held = check(read_json(failed), {"traceback": str}, failed, REMEDY)
            found.failures[name] = held["traceback"]
        elif name in opened and {"valid", "test"} & set(opened[name].read("metrics.json") or {}):
            found.runs.setdefault(entry, []).append(opened[name])
        else:
            found.missing.append(name)
    if not found.runs and not found.failures:
        raise InputError(
            f"Folder {folder}", "must hold runs that have ended", "none",
            "Run `ur4rec benchmark` first.",
        )  # fmt: skip
    _check_data(found)
    order = {**(index["entries"] if index else {}), **found.runs}
    found.runs = {entry: found.runs[entry] for entry in order if entry in found.runs}
    if baseline is not None and baseline not in found.runs:
        raise InputError(
            f"Baseline of {folder}", "must be an entry whose runs have ended", repr(baseline),
            f"Name one of {list(found.runs)}.",
        )  # fmt: skip
    found.baseline = baseline or found.baseline
    if found.baseline not in found.runs:
        found.baseline = None
    groups = (index or {}).get("groups") or {}
    found.groups = {entry: groups[entry] for entry in found.runs if entry in groups}
    return found


def _index(folder: Path) -> dict[str, Any] | None:
    """Read which run is whose; None in a folder that no benchmark made."""
    file = folder / "benchmark.json"
    return check(read_json(file), Maybe(INDEX), file, REMEDY)


def _check_data(found: Benchmark) -> None:
    """Raise `InputError` for runs of several data sets: their numbers cannot stand in a table."""
    names = sorted({run.about["dataset"] for runs in found.runs.values() for run in runs})
    if len(names) > 1:
        raise InputError(
            f"Folder {found.folder}", "must hold runs of one data set", ", ".join(names),
            "Move the runs of the others to a folder of their own.",
        )  # fmt: skip
