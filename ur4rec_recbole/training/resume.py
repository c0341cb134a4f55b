"""Resume: everything that a training needs to go on, bit for bit, after being killed.

resume.pth is written at the end of every epoch, atomically, and is read without unpickling
(`weights_only`). It holds the stage and its counters, weights, optimizer, the best weights of the
stage and the state of every random stream. The weights that the stage began with never change and
lie in a file of their own, written before the stage begins: `0-initial.pth`, and then the weights
that the stage before handed on. A stage's file has a name of its own, so whichever resume.pth a
kill leaves, what it refers to is there. What is read lies in the run folder, under these names:
the state names no file.
"""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ur4rec_recbole.core import collective
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.core.shapes import ANYTHING, NUMBER, Maybe, Values, check

FILE = "resume.pth"
COUNTERS = (
    "cur_step", "best_valid_score", "best_valid_result", "_best_epoch", "_best_state", "_handed_on",
    "_metrics", "_next_epoch", "_spent",
)  # fmt: skip
SHAPE = {
    **dict.fromkeys(("model", "optimizer", "random", "_best_state", "_metrics"), Values(ANYTHING)),
    **dict.fromkeys(("stage_index", "stage_epoch", "cur_step", "_best_epoch", "_next_epoch"), int),
    **dict.fromkeys(("best_valid_score", "_handed_on", "_spent"), NUMBER),
    "best_valid_result": Maybe(Values(NUMBER)),
    "results": [Values(ANYTHING)],
    "findings": [Values(ANYTHING)],
    "monitor": {"rows": [Values(ANYTHING)], "first_losses": [NUMBER], "reported": [[str]]},
    "others": Maybe([Values(ANYTHING)]),
}
REMEDY = "Start the run again in a new folder."


def save(trainer: Any, folder: str | os.PathLike[str], others: Sequence[Any] = ()) -> None:
    """Write the trainer's state into a run folder.

    `others` are the states of the random streams of the processes that train with this one.
    """
    more = {
        "stage_index": trainer.model.stage_index,
        "stage_epoch": trainer.model.stage_epoch,
        "results": [_plain(result._asdict()) for result in trainer.results],
        "monitor": _plain(trainer.monitor.state()),
        "findings": [asdict(finding) for finding in trainer.monitor.findings],
        "average": trainer._average.state() if trainer._average else None,
        "others": list(others),
    }
    write(trainer, trainer.train_data, COUNTERS, more, folder)


def write(
    trainer: Any,
    train_data: Any,
    counters: Sequence[str],
    more: Mapping[str, Any],
    folder: str | os.PathLike[str],
) -> None:
    """Write any trainer's state, its attributes named `counters`, and `more` into a run folder."""
    state = {name: _plain(getattr(trainer, name)) for name in counters}
    state |= {
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "random": random_state(train_data),
        **more,
    }
    with atomic_write(Path(folder) / FILE, make_folder=False) as file:
        torch.save(state, file)


def load(folder: str | os.PathLike[str], device: Any, shape: Any = SHAPE) -> dict[str, Any] | None:
    """Read the state; None where the run was killed before its first epoch had ended."""
    path = Path(folder) / FILE
    return check(_read(path, device), shape, path, REMEDY) if path.exists() else None


@contextmanager
def going_on(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors of restoring a trainer's state that does not fit into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(
            str(Path(folder) / FILE), "must be the state of this run", f"{type(e).__name__}: {e}",
            REMEDY,
        ) from e  # fmt: skip


def save_weights(trainer: Any, index: int) -> None:
    """Write the weights as they are after `index` stages into the trainer's run folder."""
    with atomic_write(_weights_file(trainer, trainer.folder, index), make_folder=False) as file:
        torch.save(trainer.model.state_dict(), file)


def load_weights(trainer: Any, folder: Path, index: int) -> dict[str, Any]:
    """Read the weights as they were after `index` stages of a run in a folder."""
    return _read(_weights_file(trainer, folder, index), trainer.device)


def _weights_file(trainer: Any, folder: Path, index: int) -> Path:
    name = trainer.stages[index - 1].name if index else "initial"
    return folder / f"{index}-{name}.pth"


def _read(path: Path, device: Any) -> Any:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        raise InputError(
            str(path), "must be a checkpoint of this package", type(error).__name__, REMEDY
        ) from error  # fmt: skip


def random_state(train_data: Any) -> dict[str, Any]:
    """Return the state of every random stream that training draws from."""
    name, keys, *rest = np.random.get_state()
    version, words, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": [version, list(words), gauss],
        "loader": train_data.generator.get_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def own_random_state(state: Mapping[str, Any]) -> Any:
    """Return what this process goes on with, of as many as the run had."""
    streams = [state["random"], *(state.get("others") or ())]  # an older run was alone
    if len(streams) != collective.count():
        raise InputError(
            "nproc", "must stay as it was when the run began", collective.count(),
            f"Go on with {len(streams)}.",
        )  # fmt: skip
    return streams[collective.rank()]


def set_random_state(state: dict[str, Any], train_data: Any) -> None:
    """Set every random stream to where it was."""
    torch.set_rng_state(state["torch"].cpu())
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    train_data.generator.set_state(state["loader"].cpu())
    if "cuda" in state:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])


def size(model: Any, stages: int) -> int:
    """Return the bytes that a run of `stages` stages may need on disk at once.

    resume.pth has the weights as they are, at their best and twice in Adam, RecBole's checkpoint
    three of these; a new file of either lies beside the old one while it is written. The weights
    that training and each stage came to stay, and the result's lie beside them.
    """
    return (2 * (4 + 3) + 2 + stages) * bytes_of(model)


def bytes_of(model: Any) -> int:
    """Return the bytes of a model's weights."""
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


def _plain(value: Any) -> Any:
    """Turn numpy scalars and mappings of other kinds into what is loaded without unpickling."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
