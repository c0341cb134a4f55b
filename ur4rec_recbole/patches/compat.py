"""The repairs that RecBole 1.2.1 needs on today's stack; each goes away with its cause.

torch.load (torch_load.py)
    Since torch 2.6 it refuses RecBole's checkpoints. RecBole's callers get the old default back,
    for the file that they name and while they run.
get_local_time
    Names checkpoints and logs by the second, so that runs of one second overwrite each other's. A
    name gets six random hexadecimal digits more; a checkpoint's are the same in all processes that
    train together.
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
Dataset._remove_duplication
    Sorts by time first, in a way that scrambles rows of one time: which of them is dropped, and
    what comes after what, is left to chance. Such rows keep the order of the file.
ensure_dir
    Looks for a folder and makes it later, and so fails where another process made it meanwhile, as
    runs of a benchmark do that start together.
FutureWarning
    RecBole calls what torch and pandas will remove some day. Its users can do nothing about it, and
    every run showed it; warnings from elsewhere stay.

pandas is held back by the package's requirements instead: version 3 turns RecBole's chained fillna
into a silent no-op.
"""

import functools
import importlib
import inspect
import os
import secrets
import warnings
from typing import Any

import torch
from recbole.data.dataset import Dataset

from ur4rec_recbole.core.collective import agreed
from ur4rec_recbole.patches import torch_load


def apply() -> None:
    """Make the repairs that are needed; a second call changes nothing."""
    _leave_anomaly_detection_alone()
    torch_load.apply()
    _name_files_apart()
    _collect_other_than_tensors()
    _count_popularity()
    _make_folders_beside_others()
    _keep_the_order_of_one_time()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")


def _keep_the_order_of_one_time() -> None:
    original = Dataset._remove_duplication
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def remove_duplication(self: Any) -> None:
        frame, field = self.inter_feat, self.time_field
        if self.config["rm_dup_inter"] is None or field not in frame:
            original(self)
            return
        times = frame[field].copy()
        frame[field] = times.rank(method="first")  # one time has rows in the order of the file
        original(self)
        self.inter_feat[field] = times[self.inter_feat.index]

    Dataset._remove_duplication = remove_duplication


def _leave_anomaly_detection_alone() -> None:
    before = torch.is_anomaly_enabled()
    importlib.import_module("recbole.model.sequential_recommender")
    torch.autograd.set_detect_anomaly(before)


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


def _name_files_apart() -> None:
    now = importlib.import_module("recbole.utils.utils").get_local_time
    if hasattr(now, "apart"):
        return

    def own() -> str:
        return f"{now()}-{secrets.token_hex(3)}"

    def shared() -> str:  # every process makes a trainer, and all of them use its checkpoint
        return f"{now()}-{agreed(secrets.token_hex(3))}"

    own.apart = True  # type: ignore[attr-defined]
    for name, namer in (("utils.utils", own), ("utils.logger", own), ("trainer.trainer", shared)):
        importlib.import_module(f"recbole.{name}").get_local_time = namer  # type: ignore[attr-defined]
