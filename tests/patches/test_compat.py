"""compat: what RecBole needs on today's stack, and nothing else of it has changed."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import recbole.trainer.trainer
import recbole.utils.logger
from recbole.evaluator.collector import Collector
from recbole.model.general_recommender.pop import Pop
from recbole.trainer import Trainer

from ur4rec_recbole.patches import compat


def test_a_second_repair_changes_nothing() -> None:
    before = Trainer.evaluate, Pop.calculate_loss, recbole.trainer.trainer.get_local_time
    compat.apply()
    assert before == (Trainer.evaluate, Pop.calculate_loss, recbole.trainer.trainer.get_local_time)


def test_trainers_and_logs_of_one_second_have_names_of_their_own(toy: Any) -> None:
    for model in ("UR4Rec", "SASRec"):
        made = toy(model=model, train_neg_sample_args=None)
        names = {made.new_trainer().saved_model_file for _ in range(20)}
        assert len(names) == 20
    assert len({recbole.utils.logger.get_local_time() for _ in range(20)}) == 20


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


@pytest.mark.parametrize("kept", ["first", "last"])
def test_rows_of_one_time_keep_their_order_where_duplicates_go(toy: Any, kept: str) -> None:
    histories = {f"u{n}": [f"i{(7 * k + n) % 40}" for k in range(40)] for n in range(9)}

    def items(histories: Any, **settings: Any) -> list[str]:
        train = toy(histories, moment=99, **settings).train
        return train.id2token("item_id", train.interactions["item_id"].numpy()).tolist()

    assert items(histories, rm_dup_inter=kept) == items(histories)
    again = items({"u": [*(f"i{k}" for k in range(30)), "i3"]}, rm_dup_inter=kept)
    assert again.index("i3") == (3 if kept == "first" else 29)


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
