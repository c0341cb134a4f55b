"""Going on with a killed training of RecBole's own trainer, bit for bit.

RecBole saves a model where it validates better than before, without random streams: a training that
goes on from there repeats epochs with other numbers. Here resume.pth is written after every
validated epoch, and after all but the last of a pretraining, as for UR4Rec (resume.py).
"""

import os
from functools import partial
from typing import Any

from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import PretrainTrainer, S3RecTrainer, Trainer

from ur4rec_recbole.training import resume

COUNTERS = ("cur_step", "best_valid_score", "best_valid_result", "saved_model_file")


def can_resume(trainer: Any) -> bool:
    """Tell whether weights, optimizer, counters and random streams are all of a training's state.

    Other trainers have loops of their own, other models keep more than weights.
    """
    known = type(trainer) in (Trainer, S3RecTrainer)
    return known and isinstance(trainer.model, SequentialRecommender)


def pretrains(trainer: Any) -> bool:
    """Tell whether `fit` is a pretraining, which validates nothing and calls no callback."""
    return isinstance(trainer, PretrainTrainer) and trainer.config["train_stage"] == "pretrain"


def size(model: Any) -> int:
    """Return the bytes that a run may need on disk at once.

    resume.pth and RecBole's checkpoint have the weights and Adam's two values for each; a new
    resume.pth lies beside the old one while it is written.
    """
    return (2 + 1) * 3 * resume.bytes_of(model)


def save(trainer: Any, train_data: Any, epoch: int, folder: str | os.PathLike[str]) -> None:
    """Write the trainer's state after an epoch into a run folder."""
    resume.write(trainer, train_data, COUNTERS, {"epoch": epoch}, folder)


def restore(trainer: Any, train_data: Any, folder: str | os.PathLike[str]) -> int:
    """Set the trainer to the state in a run folder, if any; return the epoch that comes next."""
    state = resume.load(folder, trainer.device)
    if state is None:
        return 0
    for name in COUNTERS:
        setattr(trainer, name, state[name])
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    resume.set_random_state(state["random"], train_data)
    trainer.start_epoch = state["epoch"] + 1
    if trainer.cur_step > trainer.stopping_step:
        trainer.epochs = trainer.start_epoch
    if trainer.start_epoch >= trainer.epochs:
        # Nothing is left to train, and RecBole would save the last weights over the best.
        trainer.fit = partial(trainer.fit, saved=False)
    return trainer.start_epoch
