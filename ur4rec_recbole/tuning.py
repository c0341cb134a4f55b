"""The search of a benchmark's baseline for its best setting, on validation.

`ur4rec benchmark --tune` reads the plan's `tune:`

tune:
  name: SASRec                # of the trials
  model: SASRec
  settings: {...}             # of every trial
  search: {learning_rate: [0.001, 0.002], ...}
  trials: 12                  # drawn without replacement; the whole grid where it is smaller
  output: properties/sasrec_tuned.yaml

A trial is a run like any other, so a search that was killed goes on. The best by validation NDCG@10
(full_masked) is written to `output`; test metrics are not looked at.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ur4rec_recbole.errors import InputError
from ur4rec_recbole.files import replacing
from ur4rec_recbole.plan import FIRST_SEED, Entry, Plan
from ur4rec_recbole.run_folder import RunFolder

KEYS = {"name", "model", "settings", "search", "trials", "output"}


def trials(plan: Plan) -> Plan:
    """Return a plan with one entry a combination that is tried."""
    tune = plan.tune
    if set(tune) != KEYS or not isinstance(tune["search"], Mapping) or tune["trials"] < 1:
        raise InputError(
            "tune", f"must hold {sorted(KEYS)}", dict(tune), "Correct the plan; see tuning.py."
        )
    entries = [
        Entry(f"{tune['name']} {n}", tune["model"], settings={**tune["settings"], **chosen})
        for n, chosen in enumerate(combinations(tune["search"], tune["trials"]), start=1)
    ]
    return replace(plan, entries=tuple(entries), baseline=None)


def combinations(search: Mapping[str, list], count: int) -> list[dict[str, Any]]:
    """Draw `count` distinct combinations of a grid, always the same ones."""
    grid = [dict(zip(search, each, strict=True)) for each in itertools.product(*search.values())]
    order = np.random.default_rng(FIRST_SEED).permutation(len(grid))[:count]
    return [grid[n] for n in np.sort(order)]


def choose(plan: Plan, tried: Plan, folder: Path, source: Path) -> str:
    """Write the best trial's settings to the plan's file and say which that was."""
    scores: dict[str, float] = {}
    for job in tried.jobs():
        metrics = _metrics(folder / job.id)
        if metrics:
            scores[job.entry] = metrics["valid"]["full_masked"]["ndcg@10"]
    if not scores:
        raise InputError(
            f"Search in {folder}", "must have a trial that ended", "none", "See its logs."
        )
    best = max(scores, key=lambda name: scores[name])
    settings = next(dict(entry.settings) for entry in tried.entries if entry.name == best)
    head = (
        f"# {plan.tune['model']} on {plan.dataset}: the best of {len(scores)} trials by validation "
        f"NDCG@10 (full_masked), {scores[best]:.4f}.\n"
        f"# Made by: ur4rec benchmark {source} --tune\n"
    )
    with replacing(plan.tune["output"]) as file:
        file.write((head + yaml.safe_dump(settings, sort_keys=False)).encode())
    return f"{plan.tune['output']}: {best}, validation NDCG@10 {scores[best]:.4f}"


def _metrics(folder: Path) -> dict[str, Any] | None:
    if not (folder / "run.json").exists():
        return None
    run = RunFolder.open(folder)
    return run.read("metrics.json") if run.about["status"] == "done" else None
