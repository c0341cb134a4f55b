"""run_recbole, saved data, load_data_and_model, resume_checkpoint, case_study, custom metrics."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LENGTHS
from tests.workflows.conftest import fresh

TRAIN = """
from recbole.quick_start import run_recbole
results = [run_recbole("UR4Rec", "toy", config_dict=given) for _ in range(2)]
found = [[float(result["test_result"][key]) for key in sorted(result["test_result"])]
         for result in results]
"""
LOAD = """
from recbole.quick_start import load_data_and_model
from recbole.utils import get_trainer
from recbole.utils.case_study import full_sort_scores, full_sort_topk

config, model, data, train, valid, test = load_data_and_model(given)
trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
result = trainer.evaluate(test, load_best_model=False)
names = [f"u{n}" for n in range(1, 11)]
users = data.token2id("user_id", names)
scores, items = full_sort_topk(users, model, test, 3, device=config["device"])
every = full_sort_scores(users, model, test, device=config["device"])
found = {
    "test": [float(result[key]) for key in sorted(result)],
    "scores": scores.tolist(),
    "best": every.sort(descending=True).values[:, :3].tolist(),
    "padding": every[:, 0].tolist(),
}
"""
RESUME = """
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

config = Config("UR4Rec", "toy", config_dict=given["settings"])
train, valid, test = data_preparation(config, create_dataset(config))
model = get_model("UR4Rec")(config, train._dataset)
trainer = get_trainer(config["MODEL_TYPE"], "UR4Rec")(config, model)
trainer.resume_checkpoint(given["file"])
begun = trainer.start_epoch
trainer.fit(train, valid, verbose=False)
found = [begun, [stage.stage for stage in trainer.results], len(trainer.train_loss_dict)]
"""


@pytest.fixture(scope="module")
def trained(folder: Path, settings: dict[str, Any]) -> tuple[list[list[float]], Path]:
    """Test metrics of two runs with saved data, and the second run's checkpoint."""
    kept = settings | {"save_dataset": True, "save_dataloaders": True}
    found = fresh(TRAIN, kept, folder)
    files = (folder / "saved").glob("UR4Rec-*.pth")
    return found, max(files, key=lambda file: file.stat().st_mtime)


def test_a_run_that_loads_saved_data_is_the_run_that_made_it(
    trained: tuple[list[list[float]], Path], folder: Path
) -> None:
    first, second = trained[0]
    assert first == second
    assert (folder / "saved/toy-UR4RecDataset.pth").exists()
    assert (folder / "saved/toy-for-UR4Rec-dataloader.pth").exists()


@pytest.fixture(scope="module")
def loaded(trained: tuple[list[list[float]], Path], folder: Path) -> dict[str, Any]:
    return fresh(LOAD, str(trained[1]), folder)


def test_a_loaded_model_measures_as_it_did(
    trained: tuple[list[list[float]], Path], loaded: dict[str, Any]
) -> None:
    assert loaded["test"] == trained[0][1]


def test_top_items_are_the_best_scored_of_users_with_a_test_row(loaded: dict[str, Any]) -> None:
    """RecBole leaves the others out without a word."""
    assert loaded["scores"] == loaded["best"]
    assert len(loaded["scores"]) == sum(n > 2 for n in LENGTHS)
    assert set(loaded["padding"]) == {float("-inf")}


def test_a_checkpoint_is_gone_on_with(
    trained: tuple[list[list[float]], Path], folder: Path, settings: dict[str, Any]
) -> None:
    longer = settings | {"epochs": 3}
    begun, stages, run = fresh(RESUME, {"settings": longer, "file": str(trained[1])}, folder)
    assert (begun, stages) == (2, ["end_to_end"])  # one epoch of each stage lies behind
    assert run == 2


CUSTOM = """
from recbole.evaluator import register
from recbole.evaluator.base_metric import TopkMetric
from recbole.quick_start import run_recbole

class FirstHit(TopkMetric):
    def calculate_metric(self, dataobject):
        hit, _ = self.used_info(dataobject)
        return {f"firsthit@{k}": round(float(hit[:, 0].mean()), 4) for k in self.topk}

register.metrics_dict["firsthit"] = FirstHit
register.metric_information["firsthit"] = FirstHit.metric_need
register.metric_types["firsthit"] = FirstHit.metric_type
found = dict(run_recbole("UR4Rec", "toy", config_dict=given)["test_result"])
found = {key: float(value) for key, value in found.items()}
"""


def test_a_metric_of_ones_own_is_measured(folder: Path, settings: dict[str, Any]) -> None:
    own = {"metrics": ["FirstHit", "Hit"], "valid_metric": "FirstHit@1", "topk": [1, 5]}
    found = fresh(CUSTOM, settings | own, folder)
    assert found["firsthit@1"] == found["firsthit@5"] == found["hit@1"]
