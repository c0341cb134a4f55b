"""Content neighbours: a board of known answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.model.content_knn import ContentKNN

# Two directions; i4 is a copy of i1 and i5 one of i2.
VECTORS = {"i1": [1, 0], "i2": [0, 2], "i3": [1, 1], "i4": [3, 0], "i5": [0, 1]}
HISTORIES = {f"u{n}": ["i1", "i2", "i3", "i4", "i5", "i6"][: n + 4] for n in range(3)}


def table() -> FeatureTable:
    about = {"kind": "item_text", "encoder": "x", "encoder_version": "1", "source_sha256": "0"}
    vectors = np.array(list(VECTORS.values()), dtype=np.float32)
    return FeatureTable(np.array(list(VECTORS)), vectors, about | {"split": "none"})


def scores(toy: Any, history: list[str], **settings: Any) -> dict[str, float]:
    made = toy(HISTORIES, {"item_text_table": table()}, model="ContentKNN", topk=[1],
               valid_metric="Hit@1", **settings)  # fmt: skip
    model = ContentKNN(made.config, made.train)
    seq = torch.zeros(1, 5, dtype=torch.long)
    seq[0, : len(history)] = torch.from_numpy(made.item_ids(history))
    batch = {model.ITEM_SEQ: seq, model.ITEM_SEQ_LEN: torch.tensor([len(history)])}
    found = model.full_sort_predict(batch)[0].tolist()
    return dict(zip(made.train.field2id_token["item_id"], found, strict=True))


def test_cosines_to_the_newest_items_are_summed_with_decay(toy: Any) -> None:
    found = scores(toy, ["i1", "i2"], recency_decay=0.5, n_newest=2)
    assert found["i5"] == pytest.approx(1.0)
    assert found["i4"] == pytest.approx(0.5)
    assert found["i3"] == pytest.approx(1.5 / 2**0.5)
    assert found["i6"] == 0  # without a vector


def test_older_items_do_not_count_and_none_is_recommended_again(toy: Any) -> None:
    found = scores(toy, ["i1", "i2"], n_newest=1)
    assert found["i4"] == pytest.approx(0.0)
    assert found["i1"] == found["i2"] == -torch.inf


def test_no_table_is_refused(toy: Any, tmp_path: Path) -> None:
    made = toy(HISTORIES, model="ContentKNN", item_text_table=None, topk=[1], valid_metric="Hit@1")
    with pytest.raises(InputError, match="item_text_table"):
        ContentKNN(made.config, made.train)
