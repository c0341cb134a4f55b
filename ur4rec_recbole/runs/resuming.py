"""Resuming a run: which runs can be, and whether their inputs are still the same."""

from logging import getLogger
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_fingerprint
from ur4rec_recbole.data.fingerprints import check_inputs
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.provenance import versions
from ur4rec_recbole.training import resume


def interrupted(path: str) -> RunFolder:
    """Open the folder of a run to go on with; one that is done or kept no state is refused."""
    folder = RunFolder.open(path)
    if not can_resume(folder):
        raise InputError(
            f"--resume {path}",
            f"must name a run of UR4Rec, or one of RecBole's sequential models with {resume.FILE}",
            f"one of {folder.about['model']} without it", "Start it again.",
        )  # fmt: skip
    if folder.about["status"] == "done":
        raise InputError(
            f"--resume {path}", "must name a run that has not ended", "one that is done",
            "Read it with `ur4rec report`.",
        )  # fmt: skip
    if folder.about["versions"] != versions():
        getLogger().warning(
            f"The run began with {folder.about['versions']} and goes on with {versions()}: its "
            "result may differ from an uninterrupted one's."
        )
    return folder


def can_resume(folder: RunFolder) -> bool:
    """Tell whether a run can go on; one of UR4Rec can from its first epoch on.

    One of an external library cannot: a folder from elsewhere does not choose what is executed.
    """
    if folder.about["model"] == "External":
        return False
    return folder.about["model"] == "UR4Rec" or has_state(folder)


def has_state(folder: RunFolder) -> bool:
    """Tell whether an epoch of a run has ended, so that it need not begin anew to go on."""
    return (folder.path / resume.FILE).exists()


def unfinished(path: Path) -> bool:
    """Tell whether a folder holds a run that was killed or interrupted and can go on."""
    if not (path / "run.json").exists():
        return False
    run = RunFolder.open(path)
    return run.about["status"] in ("running", "interrupted") and can_resume(run)


def check_same(old: RunFolder, now: dict[str, str], train: Any) -> None:
    """Raise `InputError` where data or tables are not those that a run began with.

    Parameters
    ----------
    old
        The run.
    now
        What `data.fingerprints.inputs` returns now.
    train
        The training data set, whose fingerprint is all that an older run kept.
    """
    what = f"--resume {old.path}"
    if old.about.get("inputs"):
        check_inputs(what, old.about["inputs"], now)
        return
    before = {"data": old.about.get("data_fingerprint") or "none"}
    check_inputs(what, before, {"data": training_fingerprint(train)})
