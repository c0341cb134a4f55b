"""RecBole's processes that train together work without graphics cards, and the first alone writes.

Config._init_device
    Starts the process group over nccl and takes a graphics card per process. Where there is none
    the processes meet over gloo and compute on the CPU. All but the first keep their logs,
    caches and Weights & Biases to themselves.
DistributedDataParallel
    Is told the card of each process, which torch refuses where parameters lie on the CPU.
get_tensorboard
    Opens a file in every process; all but the first get a writer that drops what it is told.
"""

import importlib
from typing import Any

import torch
from recbole.config import Config
from torch import distributed, nn

from ur4rec_recbole.core import collective

SILENT = {
    "state": "error", "show_progress": False, "verbose": False, "log_wandb": False,
    "save_dataset": False, "save_dataloaders": False,
}  # fmt: skip


def apply() -> None:
    """Make the changes; a second call changes nothing."""
    if hasattr(Config._init_device, "over_gloo"):
        return
    Config._init_device = _over_gloo(Config._init_device)
    trainer: Any = importlib.import_module("recbole.trainer.trainer")
    trainer.DistributedDataParallel = _on_any_device(trainer.DistributedDataParallel)
    trainer.get_tensorboard = _of_the_first(trainer.get_tensorboard)


def _over_gloo(init_device: Any) -> Any:
    def init_any_device(self: Config) -> None:
        values = self.final_config_dict
        cards = str(values["gpu_id"]) and torch.cuda.is_available()
        if "local_rank" not in values or cards:
            init_device(self)
        else:
            place = values.pop("local_rank")
            init_device(self)  # as for one process, which takes the CPU
            distributed.init_process_group(
                "gloo", f"tcp://{values['ip']}:{values['port']}",
                rank=place + values["offset"], world_size=values["world_size"],
            )  # fmt: skip
            values |= {"local_rank": place, "single_spec": False}
        if not values["single_spec"] and not collective.is_first():
            values |= SILENT

    init_any_device.over_gloo = True  # type: ignore[attr-defined]
    return init_any_device


def _on_any_device(parallel: Any) -> Any:
    def made(module: nn.Module, device_ids: Any = None, **options: Any) -> Any:
        on_cpu = all(each.device.type == "cpu" for each in module.parameters())
        return parallel(module, device_ids=None if on_cpu else device_ids, **options)

    return made


def _of_the_first(get_tensorboard: Any) -> Any:
    def writer(logger: Any) -> Any:
        return get_tensorboard(logger) if collective.is_first() else Silent()

    return writer


class Silent:
    """Takes whatever TensorBoard's writer takes, and writes nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None
