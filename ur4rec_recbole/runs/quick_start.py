"""The whole run on one screen: configuration -> data -> model -> training -> final table."""

from collections.abc import Callable, Mapping, Sequence
from logging import DEBUG, ERROR, getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.utils import EvaluatorType, init_logger, init_seed

from ur4rec_recbole.core.collective import agreed, is_first, leave
from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.files import require_writable
from ur4rec_recbole.data.dataset import UR4RecDataset, training_fingerprint
from ur4rec_recbole.data.fingerprints import INPUTS, inputs
from ur4rec_recbole.data.time_split import splits_at_moments
from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.model import saved
from ur4rec_recbole.registration import check_keys
from ur4rec_recbole.runs import keeping, members, resuming
from ur4rec_recbole.runs.assembly import (
    build_model,
    build_trainer,
    forget_beginning,
    load_data,
)
from ur4rec_recbole.runs.final import final_table, recboles_result, table
from ur4rec_recbole.runs.folder import RunFolder, require_free
from ur4rec_recbole.runs.group import asked_for, other_words, settings_of_place
from ur4rec_recbole.runs.launching import train_together
from ur4rec_recbole.runs.live import announce
from ur4rec_recbole.runs.result import RunResult


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    resume: str | None = None,
    arguments: Sequence[str] = (),
    callback_fn: Callable[[int, float], None] | None = None,
) -> RunResult:
    """Train and evaluate UR4Rec, or any model of RecBole, and log the final table.

    Everything is kept in a folder of its own (`run_folder`). When Ctrl-C, or SIGTERM turned into an
    exception, ends the program, the run is marked as interrupted and can go on.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        As RecBole's `run_recbole` takes them.
    resume
        Folder of a run that was killed, to go on with as it was configured: of UR4Rec or of one of
        RecBole's sequential models. One that began with a pickle must name it in `config_dict`.
    arguments
        Words of the form --key=value, which override all else. sys.argv is not read.
    callback_fn
        Called with the epoch, from 0 over all stages, and its validation score where a validated
        epoch has ended and is written; as RecBole's `Trainer.fit` calls its own. It ends the run
        by raising `runs.keeping.Pruned`, which marks the folder as pruned. Of several processes
        each calls it.

    With `nproc` among the settings so many processes train together. They import the program that
    calls this, which must do so below `if __name__ == "__main__":`.

    Returns
    -------
    result
        Its `model`, `metrics`, `folder` and `findings`; see `RunResult`.

    Raises
    ------
    InputError
        For configuration, data and tables that cannot be used, and a folder that is another run's.
    """
    files = list(config_file_list or [])
    old = resuming.interrupted(resume) if resume else None
    if old:
        model, dataset = old.about["model"], old.about["dataset"]
        config_dict = saved.without_pickles(model, old.settings(), config_dict)
    with settings_from(arguments):
        settings = {**(config_dict or {}), **settings_of_place()}
        config = _configuration(model, dataset, files, settings, old)
    group = asked_for(config)
    if group:
        call: dict[str, Any] = {
            "model": model, "dataset": dataset, "config_file_list": files, "resume": resume,
            "config_dict": config_dict, "arguments": other_words(arguments),
            "callback_fn": callback_fn,
        }  # fmt: skip
        return train_together(run, group, call)
    _begin_log(config)
    data = load_data(config)
    if config["model"] == "UR4RecEnsemble":
        config["members"] = members.prepare(config)
    parts = _parts(config, data)
    protocols.check_cut_offs(config, parts[0].item_num - 1)
    config[INPUTS] = inputs(config, data[0]._dataset.fingerprint)
    if old:
        if resuming.has_state(old):
            forget_beginning(config)
        resuming.check_same(old, config[INPUTS], parts[0])
    network = build_model(config, data[0])
    folder = (old or _new_folder(config, files, parts[0])) if is_first() else None
    with keeping.only_writer(folder):
        trainer = build_trainer(config, data[0], network, agreed(folder and folder.path))
        if old and not folder:
            trainer.go_on_from(old.path)
        result = _train(trainer, folder, bool(old), data, parts, callback_fn)
    leave()
    return result


def _configuration(
    model: str | None,
    dataset: str | None,
    files: Sequence[str],
    settings: Mapping[str, Any] | None,
    old: RunFolder | None,
) -> Config:
    """Read the configuration and check what can be checked without data."""
    config = configuration(model, dataset, files, settings)
    check_keys(config)
    if config["run_folder"] and not old and is_first():
        require_free(config["run_folder"], config)
    if _chosen_place(config):
        require_writable("checkpoint_dir", config["checkpoint_dir"])
    return config


def _begin_log(config: Config) -> None:
    """Start the log with the configuration; of several processes the first keeps one."""
    init_seed(config["seed"], config["reproducibility"])
    if not is_first():
        getLogger().setLevel(ERROR)
        return
    init_logger(config)
    getLogger().debug(config)  # run.json has it


def _chosen_place(config: Config) -> str | None:
    """Return the `checkpoint_dir` that was set; without one checkpoints lie in the run's folder."""
    return config["checkpoint_dir"] if "checkpoint_dir" in config.external_config_dict else None


def _parts(config: Config, data: Sequence[Any]) -> Sequence[Any]:
    """Return training, validation and test data set, with exact histories where they are ranked."""
    parts = [each._dataset for each in data]
    if one_target_a_user(config) and not isinstance(parts[0], UR4RecDataset):
        return UR4RecDataset(config).build()
    return parts


def _new_folder(config: Config, files: Sequence[str], train: Any) -> RunFolder:
    """Make the run's folder."""
    fingerprint = training_fingerprint(train)
    folder = RunFolder.create(config["run_folder"], config, files, fingerprint, config[INPUTS])
    if config["model"] == "UR4RecEnsemble":
        folder.write_json("members.json", members.cost(config["members"]))
    return folder


def _train(
    trainer: Any,
    folder: RunFolder | None,
    resumed: bool,
    data: Sequence[Any],
    parts: Sequence[Any],
    callback_fn: Callable[[int, float], None] | None,
) -> RunResult:
    """Train, evaluate with the best weights, and keep both."""
    config, logger = trainer.config, getLogger()
    logger.debug(trainer.model)
    if folder:
        announce(trainer, folder, parts[0])
    one_target = one_target_a_user(config)
    valid = parts[1] if one_target else None
    for protocol, names in protocols.left_out(config).items() if one_target else ():
        logger.info(f"{protocol} cannot have {', '.join(names)}, which the final table leaves out")
    entries: dict[str, Any] = {"run_folder": str(folder.path) if folder else None}
    with (
        keeping.ending(trainer, folder),
        keeping.keeping(trainer, folder, resumed, data[0], valid) as write,
    ):
        best, _ = trainer.fit(
            data[0], data[1], verbose=logger.isEnabledFor(DEBUG),  # `keeping` logs the epochs
            show_progress=keeping.wants_recboles_bars(config),
            callback_fn=_in_turn(write, callback_fn),
        )  # fmt: skip
        keeping.use_best_weights(trainer, data[1])
        entries |= {"best_valid_score": best, "model_file": trainer.saved_model_file}
        if folder:
            entries["model_file"] = keeping.save_model(
                trainer, folder, config[INPUTS], parts[0], _chosen_place(config)
            )
        if one_target and not is_first():
            metrics, lines = {}, ""
        elif one_target:
            metrics = final_table(trainer.model, parts[1:], config, folder)
            entries |= metrics
            lines = "\n" + table(metrics)
        else:
            metrics = recboles_result(trainer, data[1:], folder)
            entries["test_result"] = metrics.get("test", {}).get("recbole", {})
            lines = f", test result: {entries['test_result']}"
    logger.info(f"{config['model']} on {config['dataset']}, seed {config['seed']}{lines}")
    if folder:
        logger.info(
            f"run folder: {folder.path}\ncheckpoint: {entries['model_file']}\n"
            f"next: ur4rec report {folder.path}"
        )
    findings = list(trainer.monitor.findings) if hasattr(trainer, "monitor") else []
    path = Path(folder.path) if folder else None
    return RunResult(trainer.model, metrics, path, findings, entries)


def _in_turn(*callbacks: Callable[[int, float], None] | None) -> Callable[[int, float], None]:
    """Return one callback of all that there are."""

    def call(epoch: int, score: float) -> None:
        for callback in filter(None, callbacks):
            callback(epoch, score)

    return call


def one_target_a_user(config: Any) -> bool:
    """Tell whether rankings of one target a user, chosen by time, are asked for: the table's."""
    how = config["eval_args"]
    ranked = config["eval_type"] == EvaluatorType.RANKING
    single = how["split"] == {"LS": "valid_and_test"} or splits_at_moments(how)
    return ranked and how["order"] == "TO" and single and config["benchmark_filename"] is None
