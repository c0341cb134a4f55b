"""Going on with a killed training of RecBole's own trainer, bit for bit.

RecBole saves a model where it validates better than before, without random streams: a training that
goes on from there repeats epochs with other numbers. Here resume.pth is written after every
validated epoch, and after all but the last of a pretraining, as for UR4Rec (resume.py). It holds
the best weights too, so that a run that goes on never reads RecBole's checkpoint, a pickle.
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import PretrainTrainer, S3RecTrainer, Trainer

from ur4rec_recbole.core.shapes import ANYTHING, NUMBER, Maybe, Values
from ur4rec_recbole.training import resume

COUNTERS = ("cur_step", "best_valid_score", "best_valid_result")
SHAPE = {
    **dict.fromkeys(("model", "optimizer", "random", "best"), Values(ANYTHING)),
    **dict.fromkeys(("epoch", "cur_step"), int),
    "best_valid_score": NUMBER,
    "best_valid_result": Maybe(Values(NUMBER)),
}


def can_resume(trainer: Any) -> bool:
    """Tell whether weights, optimizer, counters and random streams are all of a training's state.

    Other trainers have loops of their own, other models keep more than weights, and of several
    processes each has random streams.
    """
    known = type(trainer) in (Trainer, S3RecTrainer) and trainer.config["single_spec"]
    return known and isinstance(trainer.model, SequentialRecommender)


def pretrains(trainer: Any) -> bool:
    """Tell whether `fit` is a pretraining, which validates nothing and calls no callback."""
    return isinstance(trainer, PretrainTrainer) and trainer.config["train_stage"] == "pretrain"


def size(model: Any) -> int:
    """Return the bytes that a run may need on disk at once.

    resume.pth has the weights as they are, at their best and twice in Adam, and a new one lies
    beside the old one while it is written; RecBole's checkpoint has three of these, and the
    result's file the weights.
    """
    return (2 * 4 + 3 + 1) * resume.bytes_of(model)


def best_weights(trainer: Any) -> Mapping[str, Any]:
    """Return the weights that validated best so far, after `save`; empty in a pretraining."""
    return getattr(trainer, "best_weights", {})


def save(trainer: Any, train_data: Any, epoch: int, folder: str | os.PathLike[str]) -> None:
    """Write the trainer's state after an epoch into a run folder."""
    if trainer.cur_step == 0 and not pretrains(trainer):  # RecBole has just found it the best
        state = trainer.model.state_dict().items()
        trainer.best_weights = {key: value.clone() for key, value in state}
    more = {"epoch": epoch, "best": best_weights(trainer)}
    resume.write(trainer, train_data, COUNTERS, more, folder)


def restore(trainer: Any, train_data: Any, folder: str | os.PathLike[str]) -> int:
    """Set the trainer to the state in a run folder, if any; return the epoch that comes next."""
    state = resume.load(folder, trainer.device, SHAPE)
    if state is None:
        return 0
    with resume.going_on(folder):
        for name in COUNTERS:
            setattr(trainer, name, state[name])
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        resume.set_random_state(state["random"], train_data)
        trainer.best_weights = state["best"]
        if state["best"].keys() not in (set(), state["model"].keys()):
            raise ValueError("the best weights are another model's")
    trainer.start_epoch = state["epoch"] + 1
    if pretrains(trainer):
        trainer.saved_model_file = _pretrained_file(trainer)
    if trainer.cur_step > trainer.stopping_step:
        trainer.epochs = trainer.start_epoch
    if trainer.start_epoch >= trainer.epochs:
        # Nothing is left to train, and RecBole would save the last weights over the best.
        trainer.fit = partial(trainer.fit, saved=False)
    return trainer.start_epoch


def _pretrained_file(trainer: Any) -> str:
    """Return where RecBole has last saved a pretraining, which follows from its epochs alone."""
    last = trainer.start_epoch // trainer.save_step * trainer.save_step
    name = f"{trainer.config['model']}-{trainer.config['dataset']}-{last}.pth"
    return os.path.join(trainer.checkpoint_dir, name) if last else trainer.saved_model_file
