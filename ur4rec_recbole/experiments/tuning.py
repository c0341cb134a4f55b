"""Searches the best settings of a benchmark's rivals, on validation data.

`ur4rec benchmark --tune` reads the plan's `tune:`, one search or a list of them:

tune:
  name: SASRec                # of the trials
  model: SASRec
  settings: {...}             # of the first trial: the model's defaults, what is searched included
  search:                     # one setting per step, and the values to try
    - {learning_rate: [0.002]}
    - {hidden_dropout_prob: [0.3, 0.2]}
  output: properties/sasrec_tuned.yaml

A step tries its values while all other settings stay as in the best trial so far. That costs the
sum of the lists' lengths, not their product, and never ends worse than it began. A setting may
occur in several steps; `adapter_options.lr` is the key `lr` of the setting `adapter_options`.

A trial is a run like any other, so a search that was killed goes on. The best by validation NDCG@10
(full_masked) is written to `output`, without its tables, whose paths are of one machine: the plan's
entry names them. Test metrics are not read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, require_writable
from ur4rec_recbole.experiments.benchmark import with_folders
from ur4rec_recbole.experiments.plan import Entry, Plan
from ur4rec_recbole.runs.folder import RunFolder

KEYS = {"name", "model", "settings", "search", "output"}


def search(
    plan: Plan, tune: Mapping[str, Any], folder: Path, run: Callable[[Plan], int]
) -> tuple[Plan, int]:
    """Try one setting of a search after the other; `run` makes a plan's missing runs in `folder`.

    Returns the plan of all trials and how many of them failed.
    """
    if set(tune) != KEYS or not _is_steps(tune["search"]) or not _is_trial(tune):
        raise InputError(
            "tune", f"must hold {sorted(KEYS)}, search a list of {{setting: [values]}}",
            dict(tune), "Correct the plan; docs/benchmark.md tells its format.",
        )  # fmt: skip
    require_writable("tune: output", Path(tune["output"]).parent)
    best = dict(tune["settings"])
    tried = [best]
    for step in tune["search"]:
        [(setting, values)] = step.items()
        tried += [with_setting(best, setting, value) for value in values]
        trials = _as_plan(plan, tune, tried)
        _require_ten(trials)
        failed = run(trials)
        scores = _scores(trials, folder)
        best = tried[max(scores, key=lambda n: scores[n])]
    return trials, failed


def _require_ten(trials: Plan) -> None:
    """Raise `InputError`, before anything is trained, for trials that do not measure NDCG@10."""
    for job in trials.jobs():
        topk = job.settings.get("topk", 10)
        if 10 not in (topk if isinstance(topk, list) else [topk]):
            raise InputError(
                f"tune: {job.entry}: topk", "must have 10, by which trials are compared", topk,
                "Add it.",
            )  # fmt: skip


def with_setting(settings: Mapping[str, Any], setting: str, value: Any) -> dict[str, Any]:
    """Return settings with one changed; `outer.inner` is a key of the mapping `outer`."""
    outer, _, inner = setting.partition(".")
    return {**settings, outer: {**(settings.get(outer) or {}), inner: value} if inner else value}


def choose(tune: Mapping[str, Any], trials: Plan, folder: Path, source: Path) -> str:
    """Write the best trial's settings to the search's `output`; return a line that names it."""
    scores = _scores(trials, folder)
    best = trials.entries[max(scores, key=lambda n: scores[n])]
    score = max(scores.values())
    head = (
        f"# {tune['model']} on {trials.dataset}: the best of {len(scores)} trials by validation "
        f"NDCG@10 (full_masked), {score:.4f}.\n"
        f"# Made by: ur4rec benchmark {source} --tune\n"
    )
    tables = ("_table", "_tables")
    found = {key: value for key, value in best.settings.items() if not key.endswith(tables)}
    with atomic_write(tune["output"]) as file:
        file.write((head + yaml.safe_dump(found, sort_keys=False)).encode())
    return f"{tune['output']}: {best.name}, validation NDCG@10 {score:.4f}"


def _is_steps(search: Any) -> bool:
    return isinstance(search, list) and len(search) > 0 and all(_is_step(each) for each in search)


def _is_trial(tune: Mapping[str, Any]) -> bool:
    texts = all(isinstance(tune[key], str) and tune[key] for key in ("name", "model", "output"))
    return texts and isinstance(tune["settings"], Mapping)


def _is_step(step: Any) -> bool:
    if not isinstance(step, Mapping) or len(step) != 1:
        return False
    [values] = step.values()
    return isinstance(values, list) and len(values) > 0


def _as_plan(plan: Plan, tune: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> Plan:
    entries = tuple(
        Entry(f"{tune['name']} {n}", tune["model"], settings=settings)
        for n, settings in enumerate(tried, start=1)
    )
    return replace(plan, entries=entries, baseline=None)


def _scores(trials: Plan, folder: Path) -> dict[int, float]:
    """Return the validation NDCG@10 of the trials that ended, by their place in the plan."""
    scores: dict[int, float] = {}
    for n, job in enumerate(with_folders(trials.jobs(), folder)):
        if not (folder / job.id / "run.json").exists():
            continue
        run = RunFolder.open(folder / job.id)
        if run.about["status"] == "done":
            measured = run.read("metrics.json").get("valid", {}).get("full_masked", {})
            if "ndcg@10" not in measured:
                raise InputError(
                    f"Search in {folder}", "must measure NDCG@10 on validation, all items ranked",
                    sorted(measured), "Let topk have 10, and eval_args a validation part.",
                )  # fmt: skip
            scores[n] = measured["ndcg@10"]
    if not scores:
        raise InputError(
            f"Search in {folder}", "must have a trial that ended", "none", "See its logs."
        )
    return scores
