"""`ur4rec train --on all`: all interactions, for as long as a run with validation has settled.

A split keeps each user's newest interactions from training, which tells when to stop and how good
the model is, but leaves out what says most about tomorrow. The second run begins as the first did
and trains each stage for its best number of epochs, without validation; no metric can be had of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model import saved
from ur4rec_recbole.model.build import CORRECTIONS
from ur4rec_recbole.model.stages import SCORES
from ur4rec_recbole.runs.folder import RunFolder, require_free
from ur4rec_recbole.runs.quick_start import run
from ur4rec_recbole.runs.result import RunResult

EVERYTHING = {"split": {"RS": [1, 0, 0]}, "group_by": "user", "order": "TO", "mode": "full"}
ENDING = "-all"  # of the second run's folder


def check(
    model: str | None, dataset: str | None, files: Sequence[str], arguments: Sequence[str]
) -> None:
    """Raise `InputError`, before the first run, for one that cannot be repeated on all."""
    with settings_from(arguments):
        config = configuration(model, dataset, files, None)
    _check(config["model"], config)
    if config["run_folder"]:
        require_free(f"{config['run_folder']}{ENDING}", config)


def check_resumed(path: str) -> None:
    """Raise `InputError`, before the run in a folder goes on, as `check` does."""
    begun = RunFolder.open(path)
    given: dict[str, Any] = defaultdict(lambda: None)  # what an older run knew nothing of
    given |= {key: each["value"] for key, each in begun.about["config"].items()}
    _check(begun.about["model"], given)
    require_free(f"{begun.path}{ENDING}", given)


def _check(model: str, config: Any) -> None:
    if model != "UR4Rec":
        raise InputError(
            "--on all", "is for UR4Rec, whose stages know their best epochs", model,
            "Leave it out.",
        )  # fmt: skip
    if config["user_profile_table"]:
        raise InputError(
            "--on all", "needs a model without user profiles, which are written for one split",
            config["user_profile_table"], "Add --user_profile_table=None.",
        )  # fmt: skip
    if config["benchmark_filename"]:
        raise InputError(
            "--on all", "needs a split that is made here, by eval_args",
            f"files of a split, {config['benchmark_filename']}",
            "Name one file of all interactions in place of benchmark_filename.",
        )  # fmt: skip


def train_on_all(folder: Path) -> RunResult:
    """Train on everything as the run in `folder` has settled; its own folder ends in "-all"."""
    settled = RunFolder.open(folder)
    given = saved.read(folder)
    settings = saved.without_pickles("UR4Rec", settled.settings()) | {
        "stages": _stages(given, settled.read("stages.json")),
        "eval_args": EVERYTHING,
        "run_folder": f"{folder}{ENDING}",
    }
    # What validation rows chose, of which there will be none.
    for each in CORRECTIONS:
        names = [f"{each.name}.{number}" for number in each.numbers]
        values = [given.state_dict[name] for name in names if name in given.state_dict]
        if values:
            told = [value.tolist() for value in values]
            settings[each.key] = told[0] if len(told) == 1 else told
    return run("UR4Rec", settled.about["dataset"], None, settings)


def _stages(given: saved.Saved, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the stages whose weights the run has kept, each with its best number of epochs.

    The last of them is one that predictions go by.
    """
    entries = [each if isinstance(each, dict) else {"name": each}
               for each in given.config["stages"]]  # fmt: skip
    pairs = list(zip(entries, results, strict=True))
    while pairs and not pairs[-1][1]["best_epoch"]:
        pairs.pop()
    epochs = [told.get("kept_epoch", told["best_epoch"]) for _, told in pairs]
    if pairs:
        return [{**entry, "epochs": n} for (entry, _), n in zip(pairs, epochs, strict=True) if n]
    # Nothing was better than what the run began with: keep that.
    return [{**entries[-1], "epochs": 0, "score": SCORES[int(given.state_dict["score"])]}]
