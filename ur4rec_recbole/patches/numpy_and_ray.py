"""RecBole 1.2.1 runs with numpy 2, and with or without ray.

numpy
    RecBole reads names of old numpy, such as `np.float`, and sets them when a Config is made, from
    names that numpy 2 has removed (RecBole issue #2215). The latter are set here, and so are the
    former: a process that loads a checkpoint reads them too and makes no Config.
ray
    `recbole.quick_start` imports `ray.tune` for one call, `tune.report`, which matters inside a
    trial of Ray Tune alone. RecBole requires ray <= 2.6.3, of which there is no wheel from Python
    3.12 on, and which in turn needs numpy < 2 and pkg_resources. RecBole gets a `tune` that passes
    reports on where ray is loaded, as it is in every trial, and otherwise drops them.

Nobody else sees a difference: `import ray` finds the real one, or none.
"""

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any

import numpy as np
from recbole.config import Config

REMOVED = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


class Tune:
    """What RecBole needs of `ray.tune`."""

    @staticmethod
    def report(**metrics: Any) -> None:
        """Hand the metrics of a trial to Ray Tune, if this process is one of its trials."""
        if "ray" not in sys.modules:
            return
        report = importlib.import_module("ray.tune").report
        kinds = {each.kind for each in inspect.signature(report).parameters.values()}
        if inspect.Parameter.VAR_KEYWORD in kinds:
            report(**metrics)
        else:  # later versions take one mapping
            report(metrics)


def apply() -> None:
    """Set numpy's names and import `recbole.quick_start`; a second call changes nothing."""
    for name, value in REMOVED.items():
        if not hasattr(np, name):
            setattr(np, name, value)
    Config.compatibility_settings(None)
    _import_quick_start()


def _import_quick_start() -> None:
    stand_in = ModuleType("ray")
    stand_in.tune = Tune  # type: ignore[attr-defined]
    real = sys.modules.get("ray")
    sys.modules["ray"] = stand_in
    try:
        importlib.import_module("recbole.quick_start")
    finally:
        del sys.modules["ray"]
        if real is not None:
            sys.modules["ray"] = real
