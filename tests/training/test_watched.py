"""WatchedTrainer: RecBole's metrics at any time, and its lines with epochs counted from 1."""

import logging
from typing import Any

import pytest
import torch

METRICS = ["Hit", "Recall", "Precision", "MAP", "NDCG", "MRR", "GAUC", "ItemCoverage", "GiniIndex",
           "AveragePopularity", "ShannonEntropy", "TailPercentage"]  # fmt: skip


def test_every_ranking_metric_of_recbole_can_be_validated_by(toy: Any) -> None:
    stages = ["pretrain_sasrec", "pretrain_retriever"]
    made = toy(metrics=METRICS, valid_metric="ItemCoverage@5", stages=stages)
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False, saved=False)
    row = trainer.monitor.seen.rows[-1]
    assert {metric.lower() for metric in METRICS} <= {name.split("@")[0] for name in row}


def test_the_log_counts_the_epochs_of_a_stage_from_1(
    toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = toy(stages=["pretrain_sasrec", "pretrain_retriever"], epochs=2)
    with caplog.at_level(logging.INFO):
        made.new_trainer().fit(made.loaders[0], made.loaders[1], verbose=True, saved=False)
    lines = "\n".join(caplog.messages)
    for stage in ("pretrain_sasrec", "pretrain_retriever"):
        for epoch in (1, 2):
            assert f"{stage} epoch {epoch} training" in lines
            assert f"{stage} epoch {epoch} evaluating" in lines
    assert "epoch 0" not in lines


@pytest.mark.parametrize(("scaler", "expected"), [(False, torch.bfloat16), (True, torch.float16)])
def test_mixed_precision_on_a_card_is_bfloat16_unless_gradients_are_scaled(
    scaler: bool, expected: torch.dtype, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # else the trainer never scales
    before = torch.get_autocast_dtype("cuda")
    try:
        toy(enable_amp=True, enable_scaler=scaler, gpu_id="").new_trainer()
        assert torch.get_autocast_dtype("cuda") is expected
    finally:
        torch.set_autocast_dtype("cuda", before)
