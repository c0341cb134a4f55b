"""The repairs that RecBole 1.2.1 needs on today's stack; each goes away with its cause.

torch.load
    Since torch 2.6 `torch.load` refuses by default RecBole's checkpoints, which hold its Config
    object (RecBole issues #2212 and #2215). Calls made from RecBole's own modules, all of which
    read a file that the user named or the same run has written, get the old default back; every
    other call in the process keeps torch's safe one.
Collector.get_data_struct
    Moves all that metrics need to the CPU, and so fails for what is no tensor: the item counts of
    AveragePopularity and TailPercentage, the number of items of GiniIndex and ItemCoverage (RecBole
    issues #2191 and #2194).
Pop.calculate_loss
    Counts an item once a batch, however often the batch has it (RecBole issue #2198), which makes
    of the popularity baseline something else.
SINE
    Its module turns torch's anomaly detection on for the whole process when RecBole imports its
    sequential models, whichever one is asked for: every backward pass then keeps stack traces and
    looks for NaN. The mode is put back to what it was.
ensure_dir
    Looks for a folder and makes it later, and so fails where another process made it meanwhile, as
    runs of a benchmark do that start together.

numpy, pandas and setuptools are held back by the package's requirements instead: RecBole imports
ray 2.6.3, which needs numpy < 2 and pkg_resources (#2215), and pandas 3 turns its chained fillna
into a silent no-op.
"""

import functools
import importlib
import inspect
import os
import sys
from typing import Any

import torch


def apply() -> None:
    """Make the repairs that are needed; a second call changes nothing."""
    _leave_anomaly_detection_alone()
    _load_checkpoints()
    _collect_other_than_tensors()
    _count_popularity()
    _make_folders_beside_others()


def _leave_anomaly_detection_alone() -> None:
    before = torch.is_anomaly_enabled()
    importlib.import_module("recbole.model.sequential_recommender")
    torch.autograd.set_detect_anomaly(before)


def _load_checkpoints() -> None:
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 6) or hasattr(torch.load, "for_recbole"):
        return
    trainer = importlib.import_module("recbole.trainer.trainer")
    if "weights_only" in inspect.getsource(trainer):
        return  # a RecBole that no longer needs it
    safe_load = torch.load

    @functools.wraps(safe_load)
    def load(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.split(".")[0] == "recbole":
            kwargs.setdefault("weights_only", False)
        return safe_load(*args, **kwargs)

    load.for_recbole = True  # type: ignore[attr-defined]
    torch.load = load


def _collect_other_than_tensors() -> None:
    collector = importlib.import_module("recbole.evaluator.collector").Collector
    original = collector.get_data_struct
    if "_data_dict[key].cpu()" not in inspect.getsource(original):
        return  # repaired already, by us or by RecBole

    def get_data_struct(self: Any) -> Any:
        held = self.data_struct._data_dict
        others = {key: held.pop(key) for key in list(held) if not hasattr(held[key], "cpu")}
        returned = original(self)
        held.update(others)
        returned._data_dict.update(others)
        return returned

    collector.get_data_struct = get_data_struct


def _count_popularity() -> None:
    pop = importlib.import_module("recbole.model.general_recommender.pop").Pop
    original = pop.calculate_loss
    if "self.item_cnt[item, :] + 1" not in inspect.getsource(original):
        return  # repaired already, by us or by RecBole

    def calculate_loss(self: Any, interaction: Any) -> torch.Tensor:
        item = interaction[self.ITEM_ID]
        again = torch.bincount(item, minlength=self.n_items).unsqueeze(1) - 1
        self.item_cnt += again.clamp(min=0)  # RecBole's own count adds the one that is missing
        return original(self, interaction)

    pop.calculate_loss = calculate_loss


def _make_folders_beside_others() -> None:
    make = functools.partial(os.makedirs, exist_ok=True)
    for name in ("utils.utils", "utils", "utils.logger", "trainer.trainer"):
        importlib.import_module(f"recbole.{name}").ensure_dir = make  # type: ignore[attr-defined]
