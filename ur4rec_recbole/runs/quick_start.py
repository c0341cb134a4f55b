"""The whole run on one screen: configuration -> data -> model -> training -> final table.

python run_recbole.py --model=UR4Rec --config_files=properties/small.yaml
python run_recbole.py --resume runs/UR4Rec-ml-100k-...      goes on with a run that was killed
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.utils import init_logger, init_seed

from ur4rec_recbole.runs import keeping as kept_run, members
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.core.config import check_known
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import require_room
from ur4rec_recbole.registration import CLASSES


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    resume: str | None = None,
) -> dict[str, Any]:
    """Train and evaluate UR4Rec, or any model of RecBole, and log the final table.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        As RecBole's `run_recbole` takes them; `--key=value` of the command line comes on top.
    resume
        Folder of a run that was killed, to go on with as it was configured: of UR4Rec or of one of
        RecBole's sequential models.

    Returns
    -------
    result
        `best_valid_score`, `model_file`, `run_folder` (None where another process keeps the run),
        and for a split with one target a user the `valid` and `test` metrics by protocol; for any
        other split RecBole's `test_result`.
    """
    old = kept_run.interrupted(resume) if resume else None
    if old:
        model, dataset, config_dict = old.about["model"], old.about["dataset"], old.settings()
    files = list(config_file_list or [])
    config = _configuration(model, dataset, files, config_dict)
    data = load_data(config)
    if config["model"] == "UR4RecEnsemble":
        config["members"] = members.prepare(config)
    parts = _parts(config, data)
    fingerprint = kept_run.fingerprint_of(parts[0], old)
    trainer = build_trainer(config, data[0])
    folder = kept_run.folder_of(config, files, fingerprint, old)
    if folder and config["model"] == "UR4RecEnsemble":
        folder.write_json("members.json", members.cost(config["members"]))
    logger = getLogger()
    logger.info(trainer.model)
    one_target = one_target_a_user(config)
    valid = parts[1] if one_target else None
    with (
        kept_run.only_writer(folder),
        kept_run.keeping(trainer, folder, bool(old), data[0], valid) as callback,
    ):
        result = _train(trainer, data, callback)
        if one_target:
            result |= kept_run.final_table(trainer.model, parts[1:], config, folder)
            shown = "\n" + table(result)
        else:
            result["test_result"] = kept_run.recboles_result(trainer, data[1:], folder)
            shown = f", test result: {result['test_result']}"
    logger.info(f"{config['model']} on {config['dataset']}, seed {config['seed']}{shown}")
    return result | {"run_folder": str(folder.path) if folder else None}


def _configuration(
    model: str | None,
    dataset: str | None,
    files: Sequence[str],
    settings: Mapping[str, Any] | None,
) -> Config:
    """Read the configuration and start the log with it."""
    for file in files:
        if not Path(file).is_file():
            raise InputError(
                f"config_files: {file}", "must be a file", "none of that name", "Check the path."
            )
    config = Config(model, dataset, files or None, settings)
    if config["model"] in CLASSES:
        check_known(config.cmd_config_dict, config.internal_config_dict, config["model"])
    require_room("checkpoint_dir", config["checkpoint_dir"])
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    getLogger().info(config)
    return config


def _parts(config: Config, data: Sequence[Any]) -> Sequence[Any]:
    """Return training, validation and test data set, with exact histories where they are ranked."""
    parts = [each._dataset for each in data]
    if one_target_a_user(config) and not isinstance(parts[0], UR4RecDataset):
        return UR4RecDataset(config).build()
    return parts


def _train(trainer: Any, data: Sequence[Any], callback: Callable | None) -> dict[str, Any]:
    """Train and load the best weights."""
    train, valid, _ = data
    shown = trainer.config["show_progress"]
    best, _ = trainer.fit(train, valid, show_progress=shown, callback_fn=callback)
    trainer.evaluate(valid, load_best_model=True)
    return {"best_valid_score": best, "model_file": trainer.saved_model_file}


def one_target_a_user(config: Any) -> bool:
    """Tell whether the split is leave-one-out in time, which the final table is made for."""
    how = config["eval_args"]
    return how["order"] == "TO" and how["split"] == {"LS": "valid_and_test"}


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
    parser.add_argument("--resume", metavar="RUN", help="folder of a killed run to go on with")
    options, others = parser.parse_known_args(arguments)
    files = options.config_files.strip().split() if options.config_files else None
    try:
        if options.resume:
            kept_run.refuse_more(others, options.model, options.dataset, files)
            sys.argv = sys.argv[:1]  # RecBole would take --resume for a configuration key
        run(options.model, options.dataset, files, resume=options.resume)
    except InputError as error:
        print(f"run_recbole: {error}", file=sys.stderr)
        return 2
    return 0
