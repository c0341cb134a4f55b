"""`ur4rec_recbole.load`: a trained model with its data, from a run's folder or a checkpoint."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from recbole.config import Config

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_fingerprint
from ur4rec_recbole.data.fingerprints import check_inputs, inputs
from ur4rec_recbole.model import saved
from ur4rec_recbole.model.stages import read_stages
from ur4rec_recbole.runs.assembly import build_model, forget_beginning, load_data
from ur4rec_recbole.runs.folder import RunFolder


class Loaded(NamedTuple):
    """A trained model and what it was trained on.

    Attributes
    ----------
    model
        In evaluation mode, with its best weights.
    config
        RecBole's Config.
    train, valid, test
        RecBole's data sets.
    """

    model: Any
    config: Config
    train: Any
    valid: Any
    test: Any


def load(path: str | os.PathLike[str]) -> Loaded:
    """Load a trained model and its data.

    Parameters
    ----------
    path
        A run's folder, from which nothing is unpickled, or a checkpoint file (.pth). A checkpoint
        is unpickled: name only a file that you trust.

    Raises
    ------
    InputError
        Where there is no model, or where a table or the data have changed since it was trained.
    """
    place = Path(path)
    if place.is_dir():
        found = saved.read(place) if saved.exists(place) else _older_run(place)
    elif place.is_file():
        found = saved.read_checkpoint(place)
    else:
        raise InputError(
            f"load: {place}", "must be a run's folder or a checkpoint", "none of that name",
            "Check the path.",
        )  # fmt: skip
    loaders = load_data(found.config)
    train, valid, test = (each._dataset for each in loaders)
    if "training" in found.inputs:  # a run that knew the training interactions alone
        check_inputs(str(place), found.inputs, {"training": training_fingerprint(train)})
    else:
        check_inputs(str(place), found.inputs, inputs(found.config, train.fingerprint))
    forget_beginning(found.config)
    model = build_model(found.config, loaders[0])
    try:
        found.load_into(model)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise InputError(
            str(place), "must hold the weights of its configuration", error, saved.REMEDY
        ) from error
    return Loaded(model.eval(), found.config, train, valid, test)


def _older_run(folder: Path) -> saved.Saved:
    """Read a run of UR4Rec from before model.json: the weights after its last stage."""
    run = RunFolder.open(folder)
    refusal = InputError(
        str(folder), f"must hold {saved.ABOUT}, or the weights of a run of UR4Rec that has ended",
        f"a run of {run.about['model']}, {run.about['status']}",
        "Go on with it by --resume, or name a checkpoint file.",
    )  # fmt: skip
    if run.about["model"] != "UR4Rec":
        raise refusal
    settings = run.settings(with_defaults=True)
    settings.pop("train_neg_sample_args", None)  # as RecBole has completed it
    config = saved.configuration({**run.about, "settings": settings})
    stages = read_stages(config)
    file = folder / f"{len(stages)}-{stages[-1].name}.pth"
    if not file.is_file():
        raise refusal
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        raise InputError(
            str(file), "must hold weights", type(error).__name__, saved.REMEDY
        ) from error
    known = run.about.get("data_fingerprint")
    return saved.Saved(config, state, None, {"training": known} if known else {})
