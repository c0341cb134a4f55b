"""Windows tile all training targets exactly once, and show only what came before."""

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config

from tests.conftest import sequences, write_atomic_files
from tests.properties import few
from ur4rec_recbole.data.dataset import UR4RecDataset


@few
@given(
    lengths=st.lists(st.integers(1, 17), min_size=1, max_size=6).filter(lambda n: max(n) > 3),
    longest=st.integers(1, 8),
    moment=st.integers(1, 3),
)
def test_windows_tile_all_targets_exactly_once(
    tmp_path: Path, lengths: list[int], longest: int, moment: int
) -> None:
    histories = sequences(lengths)
    write_atomic_files(tmp_path, histories, moment=moment)
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    settings = {"data_path": str(tmp_path), "MAX_ITEM_LIST_LENGTH": longest, "load_col": columns,
                "state": "ERROR"}  # fmt: skip
    train = UR4RecDataset(Config("UR4Rec", "toy", config_dict=settings)).build()[0]
    rows = train[np.arange(len(train))]
    predicted: Counter = Counter()
    for user, items, length, target in zip(
        train.id2token("user_id", rows["user_id"].numpy()),
        rows["item_id_list"].tolist(),
        rows["item_length"].tolist(),
        rows["item_id"].tolist(),
        strict=True,
    ):
        shown = list(train.id2token("item_id", [*items[:length], target]))
        end = histories[user].index(shown[-1])
        assert shown == histories[user][end - length : end + 1]
        assert not any(items[length:])
        predicted.update((user, item) for item in shown[1:])
    expected = {
        (user, item)
        for user, items in histories.items()
        for item in (items[1:-2] if len(items) > 3 else items[1 : len(items) - (len(items) > 2)])
    }
    assert predicted == Counter(expected)
