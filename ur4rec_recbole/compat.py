"""The repair that RecBole 1.2.1 needs on today's stack; it goes away with its cause.

torch.load
    Since torch 2.6 `torch.load` refuses by default RecBole's checkpoints, which hold its Config
    object (RecBole issues #2212 and #2215). Calls made from RecBole's own modules, all of which
    read a file that the user named or the same run has written, get the old default back; every
    other call in the process keeps torch's safe one.

SINE
    Its module turns torch's anomaly detection on for the whole process when RecBole imports its
    sequential models. The mode is put back to what it was.

numpy, pandas and setuptools are held back by the package's requirements instead: RecBole imports
ray 2.6.3, which needs numpy < 2 and pkg_resources (#2215), and pandas 3 turns its chained fillna
into a silent no-op.
"""

import functools
import importlib
import inspect
import sys
from typing import Any

import torch


def apply() -> None:
    """Repair torch.load for RecBole's callers, and the anomaly mode; twice is as once."""
    before = torch.is_anomaly_enabled()
    importlib.import_module("recbole.model.sequential_recommender")
    torch.autograd.set_detect_anomaly(before)
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
