"""The whole run on one screen: configuration -> data -> model -> training -> final table.

python run_recbole.py --model=UR4Rec --config_files=properties/small.yaml
"""

import argparse
import sys
import time
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_logger, init_seed

from ur4rec_recbole.config import check_known
from ur4rec_recbole.data.dataset import UR4RecDataset, sort_exactly, training_fingerprint
from ur4rec_recbole.errors import InputError
from ur4rec_recbole.registration import CLASSES
from ur4rec_recbole.results import EpochRecorder, conclude
from ur4rec_recbole.run_folder import RunFolder


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and evaluate UR4Rec, or any model of RecBole, and log the final table.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        As RecBole's `run_recbole` takes them; `--key=value` of the command line comes on top.

    Returns
    -------
    result
        `best_valid_score`, `model_file`, and for a split with one target a user the `valid` and
        `test` metrics by protocol; for any other split RecBole's `test_result`.
    """
    files = list(config_file_list or [])
    for file in files:
        if not Path(file).is_file():
            raise InputError(
                f"config_files: {file}", "must be a file", "none of that name", "Check the path."
            )
    config = Config(model, dataset, files or None, config_dict)
    if config["model"] in CLASSES:
        check_known(config.cmd_config_dict, config.internal_config_dict, config["model"])
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logger = getLogger()
    logger.info(config)
    data = sort_exactly(create_dataset(config))
    logger.info(data)
    train_data, valid_data, test_data = data_preparation(config, data)
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    logger.info(network)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    folder = RunFolder.create(
        config["run_folder"], config, files, training_fingerprint(train_data._dataset)
    )
    parts = _parts(config, train_data, valid_data, test_data)
    record = EpochRecorder(folder, trainer, parts["valid"]) if _records_epochs(config) else None
    began = time.perf_counter()
    best, _ = trainer.fit(
        train_data, valid_data, show_progress=config["show_progress"], callback_fn=record
    )
    seconds = time.perf_counter() - began - (record.own_seconds if record else 0.0)
    result = {"best_valid_score": best, "model_file": trainer.saved_model_file}
    trainer.evaluate(valid_data, load_best_model=True)
    if not one_target_a_user(config):
        result["test_result"] = dict(trainer.evaluate(test_data, load_best_model=False))
        logger.info(f"test result: {result['test_result']}")
        folder.mark("done")
        return result
    result |= conclude(folder, network, parts, config, seconds)
    folder.mark("done")
    logger.info(
        f"{config['model']} on {config['dataset']}, seed {config['seed']}\n" + table(result)
    )
    return result


def one_target_a_user(config: Any) -> bool:
    """Tell whether the split is leave-one-out in time, which the final table is made for."""
    how = config["eval_args"]
    return how["order"] == "TO" and how["split"] == {"LS": "valid_and_test"}


def _records_epochs(config: Any) -> bool:
    """Tell whether the model's own trainer leaves writing epochs.csv to us."""
    return config["model"] not in CLASSES and one_target_a_user(config)


def _parts(config: Any, *loaders: Any) -> dict[str, Any]:
    """Return validation and test rows as `UR4RecDataset`s, whatever the model's own class."""
    if isinstance(loaders[0]._dataset, UR4RecDataset):
        return {"valid": loaders[1]._dataset, "test": loaders[2]._dataset}
    if not one_target_a_user(config):
        return {}
    return dict(zip(("valid", "test"), UR4RecDataset(config).build()[1:], strict=True))


def table(result: dict[str, Any]) -> str:
    """Lay validation and test metrics out by protocol."""
    heads = list(result["test"]["full"])
    lines = [f"{'part':<6} {'protocol':<13} " + " ".join(f"{key:>8}" for key in heads)]
    for part in ("valid", "test"):
        for protocol, values in result[part].items():
            numbers = " ".join(f"{values[key]:>8.4f}" for key in heads)
            lines.append(f"{part:<6} {protocol:<13} {numbers}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read RecBole's usual arguments and run; bad input gives its message and exit code 2."""
    parser = argparse.ArgumentParser(
        description="Train and evaluate UR4Rec or any RecBole model. Any --key=value is a "
        "configuration key."
    )
    parser.add_argument("--model", "-m", help="model name, such as UR4Rec or SASRec")
    parser.add_argument("--dataset", "-d", help="data set name, such as ml-100k")
    parser.add_argument("--config_files", help="YAML files, separated by spaces")
    options, _ = parser.parse_known_args(arguments)
    files = options.config_files.strip().split() if options.config_files else None
    try:
        run(options.model, options.dataset, files)
    except InputError as error:
        print(f"run_recbole: {error}", file=sys.stderr)
        return 2
    return 0
