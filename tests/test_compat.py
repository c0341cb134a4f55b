"""compat: RecBole's checkpoints load again, and nobody else's loading becomes unsafe."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ur4rec_recbole import compat


class Anything:
    """A class that torch's safe loading does not know."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"config": Anything()}, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def load_as(module: str, file: Path, **options: Any) -> Any:
    """Call torch.load from a module of the given name."""
    namespace: dict[str, Any] = {"__name__": module, "torch": torch}
    exec("def load(*a, **k):\n    return torch.load(*a, **k)", namespace)
    return namespace["load"](file, **options)


@pytest.mark.parametrize(
    "module", ["recbole.trainer.trainer", "recbole.quick_start.quick_start", "recbole"]
)
def test_recboles_modules_load_its_checkpoints(file: Path, module: str) -> None:
    assert isinstance(load_as(module, file)["config"], Anything)


@pytest.mark.parametrize("module", ["__main__", "transformers.x", "recbole_gnn", "ur4rec_recbole"])
def test_everyone_else_keeps_the_safe_default(file: Path, module: str) -> None:
    with pytest.raises(Exception, match="weights_only"):
        load_as(module, file)


def test_recbole_may_still_ask_for_safe_loading(file: Path) -> None:
    with pytest.raises(Exception, match="weights_only"):
        load_as("recbole.trainer.trainer", file, weights_only=True)


def test_a_second_repair_changes_nothing() -> None:
    before = torch.load
    compat.apply()
    assert torch.load is before


def test_nothing_is_repaired_where_torch_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", compat.functools.partial(print))
    before = torch.load
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    compat.apply()
    assert torch.load is before


def test_nothing_is_repaired_where_recbole_no_longer_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "load", compat.functools.partial(print))
    before = torch.load
    monkeypatch.setattr(compat.inspect, "getsource", lambda _: "torch.load(f, weights_only=False)")
    compat.apply()
    assert torch.load is before
