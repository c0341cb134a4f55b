"""Group: the processes that are asked to train together, before they are started.

The arguments are RecBole's: `nproc` processes on this machine, of `world_size` on all of them, the
first of which is number `group_offset` and which meet at `ip`:`port`. torchrun starts processes
itself, and tells each its place in its environment.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from recbole.trainer import DecisionTreeTrainer, PretrainTrainer, TraditionalTrainer
from recbole.utils import get_trainer
from torch import distributed

from ur4rec_recbole.core.config import ASKING, check_rules, recbole_rules
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.training.ensemble import UR4RecEnsembleTrainer

# They learn otherwise than by steps along a gradient, or write in every process.
ALONE = (TraditionalTrainer, DecisionTreeTrainer, PretrainTrainer, UR4RecEnsembleTrainer)
RECBOLES_PORT = 5678
_place: dict[str, Any] = {}


class Group(NamedTuple):
    """Processes that train together.

    Attributes
    ----------
    nproc
        On this machine.
    world_size
        On all machines.
    ip, port
        Where they meet: of the machine that has the first one.
    offset
        Number of this machine's first one.
    """

    nproc: int
    world_size: int
    ip: str
    port: int
    offset: int = 0

    def settings(self, local_rank: int) -> dict[str, Any]:
        """Return what RecBole's Config of one process on this machine is told."""
        return {**self._asdict(), "local_rank": local_rank}


def take_place(group: Group, local_rank: int) -> None:
    """Make this process one of a group, for the one run that it is there for."""
    _place.update(group.settings(local_rank))


def settings_of_place() -> dict[str, Any]:
    """Return what RecBole's Config of this process is told of its group; nothing without one."""
    return _place or _settings_of_torchrun()


def _settings_of_torchrun() -> dict[str, Any]:
    if not distributed.is_torchelastic_launched() or distributed.is_initialized():
        return {}
    found = {key: int(os.environ[key]) for key in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK")}
    if found["WORLD_SIZE"] == 1:
        return {}
    local_rank = int(os.environ["LOCAL_RANK"])
    meeting = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    group = Group(
        found["LOCAL_WORLD_SIZE"], found["WORLD_SIZE"], *meeting, found["RANK"] - local_rank
    )
    return group.settings(local_rank)


def asked_for(config: Any) -> Group | None:
    """Return the group that a configuration asks for; None for one process, or one of a group.

    Raises
    ------
    InputError
        For a number of processes that this machine, these batches or this model cannot have.
    """
    values = {key: config[key] for key in ASKING if key in config.final_config_dict}
    check_rules(values, {key: recbole_rules()[key] for key in ASKING})
    nproc, offset = values.get("nproc", 1), values.get("group_offset", 0)
    world_size = values.get("world_size", -1)
    if world_size <= 0:
        world_size = nproc
    if world_size == nproc == 1 or not config["single_spec"]:
        return None
    if offset + nproc > world_size:
        raise InputError(
            "Configuration key 'world_size'",
            f"must be at least {offset + nproc}, group_offset and nproc together", world_size,
            "It counts the processes on all machines; leave it out where there is one.",
        )  # fmt: skip
    _check(config, nproc, world_size)
    port = RECBOLES_PORT
    if "port" in values:
        port = _chosen_port(values["port"])
    elif world_size == nproc:
        port = _free_port()
    return Group(nproc, world_size, values.get("ip", "localhost"), port, offset)


def _check(config: Any, nproc: int, world_size: int) -> None:
    what = "Configuration key 'nproc'"
    cards = config["device"].type == "cuda"
    most = min(torch.cuda.device_count(), len(config["gpu_id"].split(","))) if cards else _cores()
    if nproc > most:
        rule = "the graphics cards that gpu_id names" if cards else "the processor cores"
        raise InputError(
            what, f"must be at most {most}, {rule}", nproc, "Lower it, or set gpu_id: '0,1'."
        )
    if issubclass(get_trainer(config["MODEL_TYPE"], config["model"]), ALONE):
        raise InputError(
            what, f"must be 1 for {config['model']}, which does not learn step by step in parts "
            "of batches", nproc, "Leave it out.",
        )  # fmt: skip
    if config["model"] == "UR4Rec" and world_size > config["train_batch_size"]:
        raise InputError(
            what, "must leave each process a window of a batch: train_batch_size is "
            f"{config['train_batch_size']}", nproc, "Lower it, or raise train_batch_size.",
        )  # fmt: skip
    for key in ("save_dataloaders", "dataloaders_save_path"):
        if config[key]:
            raise InputError(
                f"Configuration key {key!r}", "must be unset with several processes: a loader is "
                "one process's", config[key], "Leave it out; save_dataset may stay.",
            )  # fmt: skip


def _cores() -> int:
    return max(os.cpu_count() or 1, 2)  # two on one core help nobody, but show whether it works


def _chosen_port(port: int | str) -> int:
    text = str(port)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise InputError(
            "Configuration key 'port'", "must be a number from 1 to 65535", repr(port),
            "Leave it out on one machine: a free one is taken.",
        )  # fmt: skip
    return int(text)


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("localhost", 0))
        return int(place.getsockname()[1])


def other_words(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line that do not ask for a group."""
    return [word for word in arguments if word.removeprefix("--").partition("=")[0] not in ASKING]
