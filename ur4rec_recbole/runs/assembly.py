"""From a configuration to data loaders, and on to a trainer with its model.

What every run begins with, by whichever command it is started.
Random streams are set before each of the two, so that a model does not depend on what loading drew.
"""

from logging import getLogger
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from ur4rec_recbole.core.memory import keep_freed_memory
from ur4rec_recbole.data import presplit
from ur4rec_recbole.data.dataset import UR4RecDataset, sort_exactly
from ur4rec_recbole.patches.exclude_history import exclude_history
from ur4rec_recbole.patches.quick_layers import speed_up


def load_data(config: Config) -> tuple[Any, Any, Any]:
    """Return RecBole's training, validation and test loader, interactions in exact time order."""
    presplit.require_three_files(config)
    init_seed(config["seed"], config["reproducibility"])
    data = sort_exactly(create_dataset(config))
    getLogger().info(data)
    return data_preparation(config, data)


def build_trainer(config: Config, train_data: Any) -> Any:
    """Return the trainer of the configured model, the new model being its `model`."""
    keep_freed_memory()
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    if config["quick_layers"]:
        speed_up(network, config)
    if config["exclude_history"] and not isinstance(train_data._dataset, UR4RecDataset):
        exclude_history(network, train_data._dataset)
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
