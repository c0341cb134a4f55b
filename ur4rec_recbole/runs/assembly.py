"""From a configuration to data loaders, and on to a trainer with its model.

What every run begins with, by whichever command it is started.
Random streams are set before each of the two, so that a model does not depend on what loading drew.
"""

import pickle
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from ur4rec_recbole.core.collective import is_first, rank
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.memory import keep_freed_memory
from ur4rec_recbole.data import presplit
from ur4rec_recbole.data.dataset import UR4RecDataset, sort_exactly
from ur4rec_recbole.data.fingerprints import data_fingerprint
from ur4rec_recbole.data.loading import check_parts, translated
from ur4rec_recbole.patches.exclude_history import exclude_history
from ur4rec_recbole.patches.quick_layers import speed_up
from ur4rec_recbole.runs import caches
from ur4rec_recbole.runs.warm_start import begin_from
from ur4rec_recbole.training.shares import require_rows

CHECKPOINT = "model.pth"  # RecBole's, a pickle


def load_data(config: Config) -> tuple[Any, Any, Any]:
    """Return RecBole's training, validation and test loader, interactions in exact time order.

    Their data sets have a `fingerprint`, of all interactions before they were split.
    """
    presplit.require_three_files(config)
    init_seed(config["seed"], config["reproducibility"])
    with translated(config), caches.usable(config):
        data = sort_exactly(create_dataset(config))
        data.config = config  # a data set from a cache has that of the run which made it
        data.fingerprint = data_fingerprint(data)
        getLogger().info(data)
        loaders = data_preparation(config, data)
    for loader in loaders:
        loader._dataset.config = config
        loader._dataset.fingerprint = data.fingerprint
    check_parts(config, [each._dataset for each in loaders])
    require_rows(loaders)
    return loaders


def forget_beginning(config: Config) -> None:
    """Let a UR4Rec whose weights are at hand begin from no other model's, which may be gone."""
    if config["model"] == "UR4Rec":  # S3Rec of RecBole cannot be built without its own
        for key in ("init_from", "pre_model_path"):
            config[key] = None


def build_model(config: Config, train_data: Any) -> Any:
    """Return a new model as configured."""
    keep_freed_memory()
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    if config["model"] == "UR4Rec" and config["init_from"]:
        begin_from(network, config, train_data._dataset)
    if config["model"] == "UR4Rec" and config["pre_model_path"]:
        _begin_with_encoder(network, config["pre_model_path"])
    if config["quick_layers"]:
        speed_up(network, config)
    if config["exclude_history"] and not isinstance(train_data._dataset, UR4RecDataset):
        exclude_history(network, train_data._dataset)
    if not is_first():  # alike, but not in what they draw from here on
        init_seed(config["seed"] + rank(), config["reproducibility"])
    return network


def _begin_with_encoder(network: Any, file: str) -> None:
    """Load encoder and item embedding of another model of this shape, to predict by their score."""
    own = {key for key in network.state_dict() if key.startswith(("encoder.", "item_embedding."))}
    try:
        given = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict({key: given[key] for key in own}, strict=False)
    except (OSError, LookupError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"pre_model_path {file}", "must hold the weights of an encoder like this model's",
            " ".join(str(error).split())[:300], "Name a stage's weights, or train from the start.",
        ) from error  # fmt: skip
    network.score.zero_()


def build_trainer(
    config: Config, train_data: Any, network: Any = None, folder: Path | None = None
) -> Any:
    """Return the trainer of a model, its `model`; of a new one, as configured, unless given.

    With a folder, RecBole's checkpoint is model.pth there and `checkpoint_dir` stays untouched.
    """
    network = build_model(config, train_data) if network is None else network
    kind = get_trainer(config["MODEL_TYPE"], config["model"])
    if folder is None:
        return kind(config, network)
    given = config["checkpoint_dir"]
    config["checkpoint_dir"] = str(folder)  # where RecBole's trainers put whatever they write
    try:
        trainer = kind(config, network)
    finally:
        config["checkpoint_dir"] = given
    trainer.saved_model_file = str(folder / CHECKPOINT)
    return trainer
