"""exclude_history for RecBole's sequential models: ranked as with masks, trained as without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config

from tests.conftest import sequences, write_atomic_files
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.runs.assembly import build_trainer, load_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy data of users with 3 to 30 interactions, most of them longer than the models' lists."""
    folder = tmp_path_factory.mktemp("data")
    write_atomic_files(folder, sequences([3, 4, 5, *range(6, 31)], n_items=160))
    return folder


def configured(folder: Path, model: str = "SASRec", **settings: Any) -> Config:
    values = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "MAX_ITEM_LIST_LENGTH": 4,
        "epochs": 2,
        "metrics": ["Hit", "NDCG"],
        "topk": [5, 10],
        "valid_metric": "NDCG@10",
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(folder / "saved"),
    }
    return Config(model, "toy", config_dict={**values, **settings})


def ranks(folder: Path, **settings: Any) -> tuple[dict[str, np.ndarray], ...]:
    """Return validation and test ranks of a new SASRec."""
    config = configured(folder, **settings)
    trainer = build_trainer(config, load_data(config)[0])
    _, *parts = UR4RecDataset(config).build()
    return tuple(protocols.ranks(trainer.model, part, config["device"]) for part in parts)


def test_full_ranks_become_the_masked_ones_and_those_stay(folder: Path) -> None:
    for plain, excluding in zip(ranks(folder), ranks(folder, exclude_history=True), strict=True):
        np.testing.assert_array_equal(excluding["full"], plain["full_masked"])
        np.testing.assert_array_equal(excluding["full_masked"], plain["full_masked"])
        np.testing.assert_array_equal(excluding["uniform_99"], plain["uniform_99"])
        assert (excluding["full"] < plain["full"]).any()


def test_recboles_own_validation_masks_too_and_training_is_the_same(folder: Path) -> None:
    weights, scores = [], []
    for excluding in (False, True):
        config = configured(folder, exclude_history=excluding)
        train, valid, test = load_data(config)
        trainer = build_trainer(config, train)
        best, _ = trainer.fit(train, valid, show_progress=False, saved=False)
        weights.append(trainer.model.state_dict())
        result = trainer.evaluate(test, load_best_model=False)
        scores.append(result["ndcg@10"])
        parts = UR4RecDataset(config).build()
        expected = protocols.evaluate(trainer.model, parts[2], config)["full"]["ndcg@10"]
        assert result["ndcg@10"] == pytest.approx(expected, abs=1e-4)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=0)
    assert scores[1] > scores[0]


def test_a_model_without_sequences_is_refused(folder: Path) -> None:
    config = configured(folder, "BPR", exclude_history=True, train_neg_sample_args={
        "distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False,
        "candidate_num": 0,
    })  # fmt: skip
    with pytest.raises(InputError, match="is for sequential models"):
        build_trainer(config, load_data(config)[0])
