"""Cold start: items taken out leave no trace in training, and ranks are what they should be."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.conftest import SMALL, make_table
from ur4rec_recbole.commands.cold_start import _lines
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.atomic_files import read_cells
from ur4rec_recbole.experiments import cold_start
from ur4rec_recbole.experiments.cold_start import write_data

FRAME = pd.DataFrame(
    [(f"u{u}", f"i{(u + t) % 10}", float(t)) for u in range(8) for t in range(7)],
    columns=["user_id", "item_id", "timestamp"],
)


def test_a_split_takes_whole_items_out() -> None:
    found = cold_start.split(FRAME, 0.2, seed=1)
    assert found.cold["item_id"].nunique() == 2
    assert not set(found.cold["item_id"]) & set(found.warm["item_id"])
    assert len(found.cold) + len(found.warm) == len(FRAME)
    assert set(cold_start.split(FRAME, 0.2, seed=2).cold["item_id"]) != set(found.cold["item_id"])


def test_ids_are_written_as_they_are(tmp_path: Path) -> None:
    frame = FRAME.replace({"u1": '"quoted', "i3": "NA", "i4": 'a""b'})
    found = cold_start.split(frame, 0.2, seed=1)
    cold_start.write_data(found, tmp_path, "toy")
    read = read_cells(tmp_path / "toy" / "toy.inter")
    assert read.user_id.tolist() == found.warm.user_id.tolist()
    assert read.item_id.tolist() == found.warm.item_id.tolist()
    items = read_cells(tmp_path / "toy" / "toy.item").item_id
    assert sorted(items) == sorted(frame.item_id.unique())


def test_a_share_that_leaves_nothing_to_predict_is_refused_before_training() -> None:
    first = FRAME[FRAME.timestamp == 0]
    rest = FRAME[FRAME.timestamp > 0]
    cold_start._require_targets(cold_start.Split(first, rest), 0.5)
    with pytest.raises(InputError, match="--share 0.5"):
        cold_start._require_targets(cold_start.Split(rest, first), 0.5)


class Ids:
    """Names each token by its number."""

    def token2id(self, field: str, tokens: Any) -> Any:
        del field
        if isinstance(tokens, str):
            return int(tokens[1:]) + 1
        return np.array([int(token[1:]) + 1 for token in tokens])


def test_a_history_holds_the_warm_items_before_the_target_alone() -> None:
    warm = pd.DataFrame(
        [("u0", "i1", 1.0), ("u0", "i2", 2.0), ("u0", "i3", 5.0)], columns=FRAME.columns
    )
    cold = pd.DataFrame(
        [("u0", "i7", 3.0), ("u0", "i8", 0.5), ("u1", "i7", 9.0)], columns=FRAME.columns
    )
    config = {"MAX_ITEM_LIST_LENGTH": 4}
    rows, targets = cold_start.batch(config, Ids(), cold_start.Split(warm, cold))
    assert rows["item_id_list"].tolist() == [[2, 3, 0, 0]]  # i1, i2; neither later nor unknown
    assert rows["exact_seconds_list"].tolist() == [[1.0, 2.0, 0.0, 0.0]]
    assert rows["exact_seconds"].tolist() == [3.0]
    assert rows["item_length"].tolist() == [2]
    assert targets.tolist() == [8]


class Oracle:
    """Scores item 5 highest, then item 4, and so on down to item 1; never item 6."""

    device = "cpu"
    n_items = 7

    def eval(self) -> None: ...

    def full_sort_predict(self, rows: Any) -> torch.Tensor:
        return torch.tensor([0.0, 1, 2, 3, 4, 5, -1]).expand(len(rows), -1)


def test_hits_are_counted_among_cold_items_and_among_all(monkeypatch: Any) -> None:
    monkeypatch.setattr(cold_start, "TOP", 1)
    rows = cold_start.Interaction(
        {"user_id": torch.tensor([1, 2]), "item_id_list": torch.tensor([[5, 0], [1, 0]])}
    )
    counts = torch.tensor([0, 9, 1, 1, 0, 1, 0])
    found = cold_start.measure(Oracle(), rows, torch.tensor([4, 4]), torch.tensor([4, 6]), counts)
    assert found.among_cold.tolist() == [1.0, 1.0]
    assert found.among_cold_random.tolist() == [0.5, 0.5]
    assert found.among_all.tolist() == [1.0, 0.0]  # the first user has had item 5
    assert found.among_all_random.tolist() == [0.2, 0.2]
    assert found.among_all_popular.tolist() == [0.0, 0.0]


def test_items_taken_out_of_ml100k_are_unknown_to_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RecBole reads ml-100k from its own folder, wherever data_path points."""
    text = make_table("item_text", [f"{n}" for n in range(1, 1683)])
    text.save(tmp_path / "text.npz")
    settings = SMALL | {
        "item_text_table": str(tmp_path / "text.npz"),
        "stages": [{"name": "pretrain_sasrec", "epochs": 1}],
        "train_batch_size": 512,
        "eval_batch_size": 512,
        "time_intervals": True,
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(settings))
    written = []
    monkeypatch.setattr(
        cold_start, "write_data", lambda *given: written.append(given[0]) or write_data(*given)
    )
    told = cold_start.run_seed([str(file)], 0.1, 1, "ml-100k", 0.3)
    found = told.scored
    assert written[0].warm.timestamp.between(8e8, 9e8).all()  # seconds, not RecBole's shares
    assert found.among_all_popular.max() == 0  # popularity has never seen them
    assert len(found.among_cold) > 900
    assert 0.05 < found.among_cold_random.mean() < 0.07
    assert told.content is not None and 0 < told.content.among_cold.mean() < 1
    # Among themselves they stay in order; among all more of them are found, and less of the rest.
    assert told.mixed.among_cold.tolist() == found.among_cold.tolist()
    assert told.mixed.among_all.mean() > found.among_all.mean()
    assert told.known_mixed < told.known


@pytest.mark.parametrize(("rate", "certain"), [(0.2, True), (0.05, False)])
def test_hits_of_few_users_are_told_from_chance(rate: float, certain: bool) -> None:
    """Chance hits every user a little: by ranks of differences most would speak against us."""
    found = (np.arange(400) % 100 < 100 * rate).astype(float)
    chance = np.full(400, 0.05)
    told = cold_start.Outcome(found, chance, found, chance, chance)
    line = _lines(2020, cold_start.Seed(told, told, None, 0.1, 0.1))[1]
    assert (float(line.split()[2]) < 0.001) == certain
