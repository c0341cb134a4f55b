"""Keeps a run in its folder, however it ends; used by `quick_start.run`.

UR4Rec's trainer writes its own epochs; for RecBole's models a callback writes what RecBole reports.
"""

import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.collective import agreed
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import (
    UNUSABLE,
    atomic_write,
    exclusive_lock,
    require_writable,
)
from ur4rec_recbole.core.memory import peak_memory
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.evaluation.subsets import per_target
from ur4rec_recbole.model import saved
from ur4rec_recbole.monitoring.data_rules import data_findings
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.live import Bar, EpochLog, limits
from ur4rec_recbole.runs.resuming import can_resume
from ur4rec_recbole.runs.to_folder import ToRunFolder
from ur4rec_recbole.training import resume, resume_recbole
from ur4rec_recbole.training.external import ExternalTrainer
from ur4rec_recbole.training.trainer import UR4RecTrainer

MASKED = "full_masked_ndcg@10"  # column of epochs.csv
NOT_WRITABLE = (*UNUSABLE, errno.ENOENT)  # of a folder that was removed, too


class Pruned(Exception):
    """Raised by a run's `callback_fn`: the run is not worth finishing, and has not failed."""


@contextmanager
def only_writer(folder: RunFolder | None) -> Iterator[None]:
    """Lock a run's folder, if any; `InputError` if another process writes to it."""
    if folder is None:
        yield
        return
    refusal = InputError(
        f"Run folder {folder.path}", "must belong to one process",
        "one that another process writes to", "Wait until that ends.",
    )  # fmt: skip
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(folder.path / ".lock", refusal))
        except OSError as error:
            raise _cannot_write(folder, error) from error
        yield


@contextmanager
def ending(trainer: Any, folder: RunFolder | None) -> Iterator[None]:
    """Mark in the run's folder, if any, how a training ends, and say how to go on with it."""
    if folder is None:
        yield
        return
    try:
        yield
        folder.mark("done")
    except KeyboardInterrupt as error:
        with suppress(OSError):
            folder.mark("interrupted")
        error.args = (_how_to_go_on(folder),)
        raise
    except Pruned:
        folder.mark("pruned")
        raise
    except BaseException as error:
        with suppress(OSError):  # such as the full disk that it failed of
            folder.mark("failed")
        if not isinstance(error, InputError) and _is_about_writing(folder, error):
            raise _cannot_write(folder, error) from error
        raise
    finally:
        if isinstance(trainer, UR4RecTrainer):
            trainer.monitor.close()


def _how_to_go_on(folder: RunFolder) -> str:
    if can_resume(folder):
        return f"interrupted; go on with: ur4rec train --resume {folder.path}"
    return f"interrupted; a run of {folder.about['model']} cannot go on, start it again"


def _is_about_writing(folder: RunFolder, error: BaseException) -> bool:
    """Tell whether an error comes from a folder that cannot be written to any more.

    torch raises a RuntimeError of its own where a disk is full.
    """
    if isinstance(error, OSError):
        return error.errno in NOT_WRITABLE or not (folder.path / "run.json").exists()
    if not isinstance(error, RuntimeError):
        return False
    gone = not folder.path.exists()
    return gone or shutil.disk_usage(folder.path).free < 2**20


def _cannot_write(folder: RunFolder, error: BaseException) -> InputError:
    gone = not (folder.path / "run.json").exists()
    return InputError(
        f"run_folder {folder.path}",
        "must stay while the run goes on" if gone else "must be a folder that can be written to",
        "a folder that was removed" if gone else error,
        "Start the run again." if gone else f"Make room; {_how_to_go_on(folder)}",
    )


@contextmanager
def keeping(
    trainer: Any,
    folder: RunFolder | None,
    resumed: bool,
    train_data: Any,
    valid: UR4RecDataset | None,
) -> Iterator[Callable | None]:
    """Keep a training in its folder, if any; yields the callback for `fit`.

    `train_data` is the loader, `valid` the validation rows where each has one target, else None.
    """
    if folder is None:
        yield None
        return
    if resumed:
        folder.remove_temporary()
        folder.mark("running")  # now that its lock is ours
    began = time.perf_counter()
    if isinstance(trainer, UR4RecTrainer):
        require_writable("run_folder", folder.path, resume.size(trainer.model, len(trainer.stages)))
        stages, epoch = trainer.keep(folder.path, resumed)
        findings = trainer.monitor.findings
        trainer.monitor.observers.insert(0, ToRunFolder(folder, stages, epoch, findings))
        trainer.monitor.observers += _shown(trainer, stages)
        began -= folder.elapsed()
        yield None
    else:
        if resume_recbole.can_resume(trainer):
            require_writable("run_folder", folder.path, resume_recbole.size(trainer.model))
        if resumed:
            folder.rewind(resume_recbole.restore(trainer, train_data, folder.path))
            began -= folder.elapsed()
        for finding in data_findings(trainer.config, valid) if valid else ():
            getLogger().warning(f"finding {finding}")
            folder.add_finding(finding)
        write = _epoch_writer(trainer, folder, train_data, valid)
        if resume_recbole.pretrains(trainer):
            _tell_of_epochs(trainer, write)
        yield write
    usage = {"seconds": time.perf_counter() - began, "peak_memory": peak_memory()}
    folder.write_json("metrics.json", {**(folder.read("metrics.json") or {}), **usage})


def _shown(trainer: Any, ended: int = 0) -> list[Any]:
    """Return what shows a training of whose stages so many have ended: the log, and a bar.

    There is no bar where the log goes elsewhere than to a terminal, or RecBole's own bars have it.
    """
    config = trainer.config
    shown: list[Any] = [_log(trainer, ended)]
    if sys.stderr.isatty() and not wants_recboles_bars(config):
        shown.append(Bar(sys.stderr, *_judged_by(config)))
    return shown


def _log(trainer: Any, ended: int = 0) -> EpochLog:
    return EpochLog(limits(trainer)[ended:], *_judged_by(trainer.config))


def _judged_by(config: Any) -> tuple[str, bool]:
    return config["valid_metric"], bool(config["valid_metric_bigger"])


def wants_recboles_bars(config: Any) -> bool:
    """Tell whether RecBole's bars, of which every epoch leaves two behind, were asked for."""
    return bool(config["show_progress"]) and "show_progress" in config.external_config_dict


def use_best_weights(trainer: Any, valid_data: Any) -> None:
    """Load the best weights after `fit`, without unpickling where this process knows them.

    A UR4Rec trainer has loaded them, and a pretraining has none.
    """
    if isinstance(trainer, UR4RecTrainer | ExternalTrainer) or resume_recbole.pretrains(trainer):
        return
    best = resume_recbole.best_weights(trainer)
    agreed(None)  # of several processes the first has written its file
    if best:
        trainer.model.load_state_dict(best)
    else:
        trainer.evaluate(valid_data, load_best_model=True)  # from the file of this very run


def save_model(
    trainer: Any, folder: RunFolder, inputs: dict[str, str], dataset: Any, place: str | None
) -> str:
    """Write the trained model; return RecBole's checkpoint of it.

    Parameters
    ----------
    place
        A `checkpoint_dir` of the user's choice, where the checkpoint gets a name of its own; None
        leaves it in the run's folder.
    """
    saved.save_tokens(folder.path, dataset)
    try:
        saved.save(folder.path, trainer.model, trainer.config, inputs)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        getLogger().warning(f"{trainer.config['model']} is kept as a pickle alone: {error}")
    file = Path(trainer.saved_model_file)
    if place is None or not file.exists():
        return str(file)
    stem = f"{trainer.config['model']}-{time.strftime('%b-%d-%Y_%H-%M-%S')}"
    target = Path(place) / f"{stem}-{secrets.token_hex(3)}.pth"
    try:
        os.link(file, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without links
        with file.open("rb") as source, atomic_write(target) as copy:
            shutil.copyfileobj(source, copy)
    return str(target)


def _epoch_writer(
    trainer: Any, folder: RunFolder, train_data: Any, valid: UR4RecDataset | None
) -> Callable[[int, float | None], None]:
    """Return a callback that writes an epoch of RecBole's own trainer, and what going on needs.

    RecBole validates with the history among the candidates, UR4Rec usually without. So that their
    curves can be compared, `MASKED` is measured too; the time that this takes is not counted.
    """
    last, elapsed = time.perf_counter(), folder.elapsed()
    resumable = resume_recbole.can_resume(trainer)
    log = _log(trainer)
    log.stage_begins(*limits(trainer)[0], len(train_data), trainer.start_epoch)

    def write(epoch: int, score: float | None) -> None:
        nonlocal last, elapsed
        seconds = time.perf_counter() - last
        elapsed += seconds
        count, loss = epoch + 1, trainer.train_loss_dict.get(epoch)  # RecBole's, a sum over steps
        row = {"epoch": count, "stage": "training", "stage_epoch": count, "seconds": seconds}
        row["loss"] = None if loss is None else loss / max(len(train_data), 1)
        row["peak_memory"] = peak_memory()
        row["elapsed"] = elapsed
        if score is not None:
            row["valid_score"] = float(score)
            if isinstance(trainer, ExternalTrainer):  # which has masked the history
                row[MASKED] = float(score)
            elif valid is not None:
                device, size = trainer.config["device"], trainer.config["eval_batch_size"]
                ranks = protocols.ranks(trainer.model, valid, device, size)["full_masked"]
                row[MASKED] = float(per_target(ranks, "ndcg@10").mean())
        folder.add_epoch(row)
        log.epoch_ends(row)
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
