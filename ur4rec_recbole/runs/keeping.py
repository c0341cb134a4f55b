"""What quick_start.run does beside training: keeping the run in a folder, and going on with it.

A UR4Rec trainer writes its own epochs; for RecBole's models a callback writes what RecBole tells.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from logging import INFO, getLogger
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock, require_writable
from ur4rec_recbole.core.memory import peak_memory
from ur4rec_recbole.data.dataset import UR4RecDataset, training_fingerprint
from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.evaluation.subsets import per_target
from ur4rec_recbole.monitoring.data_rules import data_findings
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.live import LiveView
from ur4rec_recbole.runs.provenance import versions
from ur4rec_recbole.runs.to_folder import ToRunFolder
from ur4rec_recbole.training import resume, resume_recbole
from ur4rec_recbole.training.trainer import UR4RecTrainer

MASKED = "full_masked_ndcg@10"  # column of epochs.csv


def interrupted(path: str) -> RunFolder:
    """Open the folder of a run to go on with; one that is done or kept no state is refused."""
    folder = RunFolder.open(path)
    if not can_resume(folder):
        raise InputError(
            f"--resume {path}",
            f"must name a run of UR4Rec, or one of RecBole's sequential models with {resume.FILE}",
            f"one of {folder.about['model']} without it", "Start it again.",
        )  # fmt: skip
    if not folder.about["config"].get("single_spec", {"value": True})["value"]:
        raise InputError(
            f"--resume {path}", "must name a run of one process", "one of several",
            "Start it again.",
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
    """Tell whether a run can go on; one of UR4Rec can from its first epoch on."""
    return folder.about["model"] == "UR4Rec" or (folder.path / resume.FILE).exists()


def fingerprint_of(train: Any, old: RunFolder | None) -> str:
    """Return the fingerprint of training data; other data than those of an old run are refused."""
    found = training_fingerprint(train)
    if old and old.about.get("data_fingerprint") != found:
        raise InputError(
            f"--resume {old.path}", "needs the training interactions that the run began with",
            "other ones", "Restore the data set, or start a new run.",
        )  # fmt: skip
    return found


def folder_of(
    config: Any, files: Sequence[str], fingerprint: str, old: RunFolder | None
) -> RunFolder | None:
    """Make the run's folder, or return the old one.

    Of several processes that train together the first keeps the run; None for the others.
    """
    if config["local_rank"]:
        return None
    return old or RunFolder.create(config["run_folder"], config, files, fingerprint)


def only_writer(folder: RunFolder | None) -> AbstractContextManager[None]:
    """Keep other processes out of a run's folder, if any; `InputError` where one writes to it."""
    if folder is None:
        return nullcontext()
    refusal = InputError(
        f"Run folder {folder.path}", "must be one process's", "one that another writes to",
        "Wait until that ends.",
    )  # fmt: skip
    return exclusive_lock(folder.path / ".lock", refusal)


@contextmanager
def keeping(
    trainer: Any,
    folder: RunFolder | None,
    resumed: bool,
    train_data: Any,
    valid: UR4RecDataset | None,
) -> Iterator[Callable | None]:
    """Keep a training in its folder, if any, and mark how it ends; yields the callback for `fit`.

    `train_data` is the loader, `valid` the validation rows where each has one target, else None.
    """
    if folder is None:
        yield None
        return
    if resumed:
        folder.mark("running")  # now that its lock is ours
    began = time.perf_counter()
    try:
        if isinstance(trainer, UR4RecTrainer):
            _require_room(trainer, folder, resume.size(trainer.model, len(trainer.stages)))
            stages, epoch = trainer.keep(folder.path, resumed)
            findings = trainer.monitor.findings
            trainer.monitor.observers.insert(0, ToRunFolder(folder, stages, epoch, findings))
            trainer.monitor.observers.append(_live_view(trainer.config))
            began -= folder.elapsed()
            yield None
        else:
            if resume_recbole.can_resume(trainer):
                _require_room(trainer, folder, resume_recbole.size(trainer.model))
            if resumed:
                folder.rewind(resume_recbole.restore(trainer, train_data, folder.path))
                began -= folder.elapsed()
            if not getLogger().isEnabledFor(INFO):  # or nothing would say that it trains
                config = trainer.config
                print(f"training {config['model']} on {config['dataset']}, kept in {folder.path}")
            for finding in data_findings(trainer.config, valid) if valid else ():
                getLogger().warning(f"finding {finding}")
                folder.add_finding(finding)
            write = _epoch_writer(trainer, folder, train_data, valid)
            if resume_recbole.pretrains(trainer):
                _tell_of_epochs(trainer, write)
            yield write
        usage = {"seconds": time.perf_counter() - began, "peak_memory": peak_memory()}
        folder.write_json("metrics.json", {**(folder.read("metrics.json") or {}), **usage})
        folder.mark("done")
    except BaseException:
        with suppress(OSError):  # such as the full disk that it failed of
            folder.mark("failed")
        raise
    finally:
        if isinstance(trainer, UR4RecTrainer):
            trainer.monitor.close()


def _live_view(config: Any) -> LiveView:
    """Return a view without a bar where RecBole's own bars have the terminal."""
    terminal = False if config["show_progress"] else None
    return LiveView(
        sys.stdout, terminal, config["valid_metric"], bool(config["valid_metric_bigger"])
    )


def _require_room(trainer: Any, folder: RunFolder, size: int) -> None:
    """Raise `InputError` where checkpoints of `size` bytes have no room."""
    require_writable("run_folder", folder.path, size)
    require_writable("checkpoint_dir", trainer.checkpoint_dir, size)


def _epoch_writer(
    trainer: Any, folder: RunFolder, train_data: Any, valid: UR4RecDataset | None
) -> Callable[[int, float | None], None]:
    """Return a callback that writes an epoch of RecBole's own trainer, and what going on needs.

    RecBole validates with the history among the candidates, UR4Rec usually without. So that their
    curves can be compared, `MASKED` is measured too; the time that this takes is not counted.
    """
    last, elapsed = time.perf_counter(), folder.elapsed()
    resumable = resume_recbole.can_resume(trainer)

    def write(epoch: int, score: float | None) -> None:
        nonlocal last, elapsed
        seconds = time.perf_counter() - last
        elapsed += seconds
        row = {"epoch": epoch, "stage": "training", "stage_epoch": epoch + 1, "seconds": seconds}
        row |= {"loss": trainer.train_loss_dict.get(epoch), "peak_memory": peak_memory()}
        row["elapsed"] = elapsed
        if score is not None:
            row["valid_score"] = float(score)
            if valid is not None:
                device, size = trainer.config["device"], trainer.config["eval_batch_size"]
                ranks = protocols.ranks(trainer.model, valid, device, size)["full_masked"]
                row[MASKED] = float(per_target(ranks, "ndcg@10").mean())
        folder.add_epoch(row)
        if resumable:
            resume_recbole.save(trainer, train_data, epoch, folder.path)
        last = time.perf_counter()

    return write


def _tell_of_epochs(trainer: Any, write: Callable[[int, float | None], None]) -> None:
    """Let a pretraining tell of its epochs, which RecBole does for validated ones only."""
    train = trainer._train_epoch

    def told(train_data: Any, epoch: int, **options: Any) -> Any:
        loss = train(train_data, epoch, **options)
        trainer.train_loss_dict[epoch] = sum(loss) if isinstance(loss, tuple) else loss
        if epoch + 1 < trainer.pretrain_epochs:  # RecBole has yet to save the last one's model
            write(epoch, None)
        return loss

    trainer._train_epoch = told


def final_table(
    network: Any, parts: Sequence[Any], config: Any, folder: RunFolder | None
) -> dict[str, Any]:
    """Evaluate validation and test part; write metrics and ranks; return metrics by part."""
    found: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    placed: dict[str, np.ndarray] = {}
    for name, part in _evaluated(config, parts):
        measured = protocols.measure(network, part, config)
        found[name] = measured.metrics
        kept[name] = measured.metrics | measured.details
        placed |= measured.arrays(name)
    if folder:
        folder.write_result(kept, placed)
    return found


def _evaluated(config: Any, parts: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Name validation and test part; one that `evaluated_parts` leaves out is left out."""
    chosen = config["evaluated_parts"] or ("valid", "test")
    return (pair for pair in zip(("valid", "test"), parts, strict=True) if pair[0] in chosen)


def recboles_result(
    trainer: Any, loaders: Sequence[Any], folder: RunFolder | None
) -> dict[str, float]:
    """Evaluate as RecBole does where a user has several targets; return the test metrics."""
    found = {
        name: {key: float(value) for key, value in (result or {}).items()}  # none without rows
        for name, loader in _evaluated(trainer.config, loaders)
        for result in [trainer.evaluate(loader, load_best_model=False)]
    }
    if folder:
        metrics = {name: {"recbole": values} for name, values in found.items() if values}
        folder.write_json("metrics.json", metrics)
    return found.get("test", {})
