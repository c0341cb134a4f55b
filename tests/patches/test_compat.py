"""compat: RecBole's checkpoints load again, and nobody else's loading becomes unsafe."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.evaluator.collector import Collector
from recbole.model.general_recommender.pop import Pop

from ur4rec_recbole.patches import compat


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


def test_recboles_metrics_of_items_evaluate(toy: Any) -> None:
    made = toy(
        metrics=["Hit", "AveragePopularity", "TailPercentage", "GiniIndex", "ItemCoverage"],
        valid_metric="Hit@10",
    )
    trainer = made.new_trainer()
    trainer.eval_collector.data_collect(made.loaders[0])
    for _ in range(2):  # the counts must outlive one evaluation
        found = trainer.evaluate(made.loaders[1], load_best_model=False)
        assert found["averagepopularity@10"] > 0
        assert 0 < found["itemcoverage@10"] <= 1


def test_pop_counts_every_interaction_of_a_batch(toy: Any) -> None:
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
    made = toy(model="Pop", eval_args=split, train_neg_sample_args=None)
    model = made.model
    for batch in made.loaders[0]:
        model.calculate_loss(batch)
    expected = made.loaders[0]._dataset.counter("item_id")
    assert {item: int(n) for item, n in enumerate(model.item_cnt[:, 0]) if n} == dict(expected)
    assert int(model.max_cnt) == max(expected.values())


def test_recboles_own_repairs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat.inspect, "getsource", lambda _: "weights_only")
    before = Collector.get_data_struct, Pop.calculate_loss
    compat.apply()
    assert before == (Collector.get_data_struct, Pop.calculate_loss)


def test_importing_recboles_models_leaves_anomaly_detection_off() -> None:
    script = (
        "import torch, ur4rec_recbole, recbole.model.sequential_recommender.sine;"
        "print(torch.is_anomaly_enabled())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr


@pytest.mark.parametrize("module", ["recbole.utils.logger", "recbole.trainer.trainer"])
def test_a_folder_that_another_process_made_meanwhile_is_no_error(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.exists", lambda path: False)  # as just before it was made
    importlib.import_module(module).ensure_dir(str(tmp_path))
