"""numpy_and_ray: RecBole starts without ray and with numpy 2, and trials report to Ray Tune."""

import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import recbole.quick_start.quick_start as recboles
from recbole.config import Config

import ur4rec_recbole
from ur4rec_recbole.patches import numpy_and_ray


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_recbole_starts_in_a_process_that_cannot_import_ray() -> None:
    code = """
import sys

class NoRay:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRay())
import ur4rec_recbole
from recbole.quick_start import objective_function, run_recbole
try:
    import ray
except ModuleNotFoundError:
    print("none of ours")
"""
    assert fresh(code) == "none of ours"


def test_a_missing_recbole_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="--no-deps recbole==1.2.1"):
        ur4rec_recbole._require_recbole()


def test_importing_the_package_does_not_load_ray() -> None:
    code = "import sys, ur4rec_recbole, recbole.quick_start; print('ray' in sys.modules)"
    assert fresh(code) == "False"


@pytest.fixture
def no_quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let RecBole's module be imported anew, and everything be put back."""
    for name in ("recbole.quick_start", "recbole.quick_start.quick_start", "ray", "ray.tune"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_ray_that_was_imported_before_stays(
    no_quick_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ModuleType("ray")
    monkeypatch.setitem(sys.modules, "ray", real)
    numpy_and_ray.apply()
    assert sys.modules["ray"] is real


def test_a_report_outside_of_ray_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    recboles.tune.report(ndcg=0.5)
    assert "ray" not in sys.modules


def as_before(_metric: Any = None, **metrics: Any) -> None:
    REACHED.append(metrics)


def as_today(metrics: dict[str, Any], *, checkpoint: Any = None) -> None:
    REACHED.append(metrics)


REACHED: list[dict[str, Any]] = []


@pytest.mark.parametrize("report", [as_before, as_today])
def test_a_report_of_a_trial_reaches_ray(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tune = ModuleType("ray.tune")
    tune.report = report  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    REACHED.clear()
    recboles.tune.report(ndcg=0.5, hit=1.0)
    assert REACHED == [{"ndcg": 0.5, "hit": 1.0}]


def test_a_process_that_makes_no_configuration_has_numpys_old_names() -> None:
    code = "import numpy, ur4rec_recbole; print(numpy.float is numpy.float64)"
    assert fresh(code) == "True"


def test_a_configuration_is_made_whatever_numpy_has_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in numpy_and_ray.REMOVED:
        monkeypatch.delattr(np, name, raising=False)
    with pytest.raises(AttributeError):
        Config(model="UR4Rec", dataset="ml-100k", config_dict={"state": "ERROR"})
    numpy_and_ray.apply()
    Config(model="UR4Rec", dataset="ml-100k", config_dict={"state": "ERROR"})
    assert (np.float, np.unicode) == (np.float64, np.str_)
