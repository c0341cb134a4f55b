"""The whole run on one screen: configuration -> data -> model -> training -> final table."""

from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from typing import Any

from recbole.config import Config
from recbole.utils import init_logger, init_seed

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.files import require_writable
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.registration import check_keys
from ur4rec_recbole.runs import keeping, members
from ur4rec_recbole.runs.assembly import build_trainer, load_data


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    resume: str | None = None,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Train and evaluate UR4Rec, or any model of RecBole, and log the final table.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        As RecBole's `run_recbole` takes them.
    resume
        Folder of a run that was killed, to go on with as it was configured: of UR4Rec or of one of
        RecBole's sequential models.
    arguments
        Words of the form --key=value, over all others. A program's own command line is not read.

    Returns
    -------
    result
        `best_valid_score`, `model_file`, `run_folder` (None where another process keeps the run),
        and for a split with one target a user the `valid` and `test` metrics by protocol; for any
        other split RecBole's `test_result`.
    """
    old = keeping.interrupted(resume) if resume else None
    if old:
        model, dataset, config_dict = old.about["model"], old.about["dataset"], old.settings()
    files = list(config_file_list or [])
    with settings_from(arguments):
        config = _configuration(model, dataset, files, config_dict)
    data = load_data(config)
    if config["model"] == "UR4RecEnsemble":
        config["members"] = members.prepare(config)
    parts = _parts(config, data)
    fingerprint = keeping.fingerprint_of(parts[0], old)
    trainer = build_trainer(config, data[0])
    folder = keeping.folder_of(config, files, fingerprint, old)
    if folder and config["model"] == "UR4RecEnsemble":
        folder.write_json("members.json", members.cost(config["members"]))
    logger = getLogger()
    logger.info(trainer.model)
    one_target = one_target_a_user(config)
    valid = parts[1] if one_target else None
    with (
        keeping.only_writer(folder),
        keeping.keeping(trainer, folder, bool(old), data[0], valid) as callback,
    ):
        result = _train(trainer, data, callback)
        if one_target:
            result |= keeping.final_table(trainer.model, parts[1:], config, folder)
            shown = "\n" + table(result)
        else:
            result["test_result"] = keeping.recboles_result(trainer, data[1:], folder)
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
    config = Config(model, dataset, files or None, settings)
    check_keys(config)
    require_writable("checkpoint_dir", config["checkpoint_dir"])
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
    last = how["order"] == "TO" and how["split"] == {"LS": "valid_and_test"}
    return last and config["benchmark_filename"] is None


def table(result: dict[str, Any]) -> str:
    """Lay validation and test metrics out by protocol."""
    heads = list(result["test"]["full"])
    lines = [f"{'part':<6} {'protocol':<13} " + " ".join(f"{key:>8}" for key in heads)]
    for part in ("valid", "test"):
        for protocol, values in result[part].items():
            numbers = " ".join(f"{values[key]:>8.4f}" for key in heads)
            lines.append(f"{part:<6} {protocol:<13} {numbers}")
    return "\n".join(lines)
