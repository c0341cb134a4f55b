"""The search of a benchmark's baseline for its best setting, on validation.

`ur4rec benchmark --tune` reads the plan's `tune:`

tune:
  name: SASRec                # of the trials
  model: SASRec
  settings: {...}             # of every trial
  search: {learning_rate: [0.001, 0.002, 0.0005], hidden_dropout_prob: [0.5, 0.2], ...}
  output: properties/sasrec_tuned.yaml

The first trial has the first value of every list, the defaults. Then one setting after the other,
in the plan's order, tries its other values while the rest stay as in the best trial so far. That
costs the sum of the lists' lengths, not their product, and ends no worse than the defaults.

A trial is a run like any other, so a search that was killed goes on. The best by validation NDCG@10
(full_masked) is written to `output`; test metrics are not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ur4rec_recbole.errors import InputError
from ur4rec_recbole.files import replacing
from ur4rec_recbole.plan import Entry, Plan
from ur4rec_recbole.run_folder import RunFolder

KEYS = {"name", "model", "settings", "search", "output"}


def search(plan: Plan, folder: Path, run: Callable[[Plan], int]) -> tuple[Plan, int]:
    """Try one setting after the other; `run` runs in `folder` what is not done of a plan.

    Returns the plan of all trials and how many of them failed.
    """
    tune = plan.tune
    lists: Any = tune.get("search")
    if set(tune) != KEYS or not _is_grid(lists):
        raise InputError(
            "tune", f"must hold {sorted(KEYS)}, search a list of values for each setting",
            dict(tune), "Correct the plan; see tuning.py.",
        )  # fmt: skip
    best = {setting: values[0] for setting, values in lists.items()}
    tried = [best]
    for setting, values in lists.items():
        tried += [{**best, setting: value} for value in values[1:]]
        trials = _as_plan(plan, tried)
        failed = run(trials)
        scores = _scores(trials, folder)
        best = tried[max(scores, key=lambda n: scores[n])]
    return trials, failed


def choose(plan: Plan, trials: Plan, folder: Path, source: Path) -> str:
    """Write the best trial's settings to the plan's file and say which that was."""
    scores = _scores(trials, folder)
    best = trials.entries[max(scores, key=lambda n: scores[n])]
    score = max(scores.values())
    head = (
        f"# {plan.tune['model']} on {plan.dataset}: the best of {len(scores)} trials by validation "
        f"NDCG@10 (full_masked), {score:.4f}.\n"
        f"# Made by: ur4rec benchmark {source} --tune\n"
    )
    with replacing(plan.tune["output"]) as file:
        file.write((head + yaml.safe_dump(dict(best.settings), sort_keys=False)).encode())
    return f"{plan.tune['output']}: {best.name}, validation NDCG@10 {score:.4f}"


def _is_grid(lists: Any) -> bool:
    known = isinstance(lists, Mapping) and len(lists) > 0
    return known and all(isinstance(values, list) and values for values in lists.values())


def _as_plan(plan: Plan, tried: Sequence[Mapping[str, Any]]) -> Plan:
    tune = plan.tune
    entries = tuple(
        Entry(f"{tune['name']} {n}", tune["model"], settings={**tune["settings"], **chosen})
        for n, chosen in enumerate(tried, start=1)
    )
    return replace(plan, entries=entries, baseline=None)


def _scores(trials: Plan, folder: Path) -> dict[int, float]:
    """Return the validation NDCG@10 of the trials that ended, by their place in the plan."""
    scores: dict[int, float] = {}
    for n, job in enumerate(trials.jobs()):
        if not (folder / job.id / "run.json").exists():
            continue
        run = RunFolder.open(folder / job.id)
        if run.about["status"] == "done":
            scores[n] = run.read("metrics.json")["valid"]["full_masked"]["ndcg@10"]
    if not scores:
        raise InputError(
            f"Search in {folder}", "must have a trial that ended", "none", "See its logs."
        )
    return scores
