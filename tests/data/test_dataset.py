"""UR4RecDataset: RecBole's rows for validation and test, each training target exactly once."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data.dataset import SequentialDataset

from tests import reference
from tests.conftest import LENGTHS, sequences, write_atomic_files
from ur4rec_recbole.data import dataset
from ur4rec_recbole.data.dataset import (
    HISTORY_END,
    HISTORY_START,
    SECONDS,
    UR4RecDataset,
    sort_exactly,
    training_fingerprint,
)
from ur4rec_recbole.model.positions import Positions

SPLITS = {
    "leave_one_out": {"split": {"LS": "valid_and_test"}, "order": "TO"},
    "leave_one_out_test_only": {"split": {"LS": "test_only"}, "order": "TO"},
    "leave_one_out_valid_only": {"split": {"LS": "valid_only"}, "order": "TO"},
    "ratio_of_each_user": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO"},
    "ratio_of_all": {"split": {"RS": [0.7, 0.1, 0.2]}, "order": "TO", "group_by": "none"},
    "time": {"split": {"TS": [0.6, 0.2, 0.2]}, "order": "TO"},
}
SPLIT = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)


def everything(part: Any) -> dict[str, torch.Tensor]:
    return part[np.arange(len(part))].interaction


def assert_same_rows(ours: Any, recbole: Any) -> None:
    """All of RecBole's fields are there, bit for bit; beside them pointers and exact times."""
    assert len(ours) == len(recbole)
    if not len(recbole):
        return
    found, expected = everything(ours), everything(recbole)
    own = {HISTORY_START, HISTORY_END, SECONDS, f"{SECONDS}_list"}
    assert set(found) - set(expected) == own
    for field, values in expected.items():
        assert found[field].dtype == values.dtype, field
        assert torch.equal(found[field], values), field


def recbole_parts(config: Config) -> list[SequentialDataset]:
    return sort_exactly(SequentialDataset(config)).build()


def toy_config(tmp_path: Path, **settings: Any) -> Config:
    values = {
        "data_path": str(tmp_path),
        "MAX_ITEM_LIST_LENGTH": 5,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "state": "ERROR",
    }
    return Config(model="UR4Rec", dataset="toy", config_dict=values | settings)


def by_user(part: UR4RecDataset, rows: np.ndarray) -> dict[int, list[int]]:
    """Items of some interactions by user, in order."""
    found = defaultdict(list)
    chosen = part.interactions[torch.from_numpy(rows)]
    for user, item in zip(
        chosen[part.uid_field].tolist(), chosen[part.iid_field].tolist(), strict=True
    ):
        found[user].append(item)
    return dict(found)


@pytest.fixture(scope="module")
def recbole_ml100k() -> list[SequentialDataset]:
    settings = {"train_neg_sample_args": None, "state": "ERROR"}
    return recbole_parts(Config(model="SASRec", dataset="ml-100k", config_dict=settings))


def test_validation_and_test_rows_of_ml100k_are_recboles(
    ml100k: tuple[UR4RecDataset, ...], recbole_ml100k: list[SequentialDataset]
) -> None:
    for ours, theirs in zip(ml100k[1:], recbole_ml100k[1:], strict=True):
        assert len(ours) == 943
        assert_same_rows(ours, theirs)


def test_counts_and_matrix_of_ml100k_are_recboles(
    ml100k: tuple[UR4RecDataset, ...], recbole_ml100k: list[SequentialDataset]
) -> None:
    for ours, theirs in zip(ml100k, recbole_ml100k, strict=True):
        assert ours.item_counter == theirs.item_counter
        assert ours.user_counter == theirs.user_counter
        assert (ours.inter_matrix("csr") != theirs.inter_matrix("csr")).nnz == 0
        assert ours.inter_matrix("csr").sum() == theirs.inter_matrix("csr").sum()


@SPLIT
@pytest.mark.parametrize("longest", [1, 2, 5, 50])
def test_rows_of_every_split_are_recboles(
    tmp_path: Path, split: dict[str, Any], longest: int
) -> None:
    write_atomic_files(tmp_path, sequences())
    config = toy_config(tmp_path, eval_args=split, MAX_ITEM_LIST_LENGTH=longest)
    ours, theirs = UR4RecDataset(config).build(), recbole_parts(config)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert_same_rows(mine, other)
    for mine, other in zip(ours, theirs, strict=True):
        if len(other):
            assert mine.item_counter == other.item_counter
            if longest > 1:  # at 1 RecBole takes every row for a user's first and counts double
                assert (mine.inter_matrix("csr") != other.inter_matrix("csr")).nnz == 0


@SPLIT
@pytest.mark.parametrize("longest", [1, 2, 5, 50])
def test_training_windows_equal_the_naive_ones(
    tmp_path: Path, split: dict[str, Any], longest: int
) -> None:
    write_atomic_files(tmp_path, sequences())
    config = toy_config(tmp_path, eval_args=split, MAX_ITEM_LIST_LENGTH=longest)
    train = UR4RecDataset(config).build()[0]
    every_prefix = everything(recbole_parts(config)[0])
    last = Counter(every_prefix["user_id"].tolist())  # targets = training interactions - 1
    histories = by_user(train, np.arange(len(train.interactions)))
    expected = sorted(
        (user, *window)
        for user, items in histories.items()
        for window in reference.windows(items[: last[user] + 1], longest)
    )
    rows = everything(train)
    found = sorted(
        (user, items[:length], target)
        for user, items, length, target in zip(
            rows["user_id"].tolist(),
            rows["item_id_list"].tolist(),
            rows["item_length"].tolist(),
            rows["item_id"].tolist(),
            strict=True,
        )
    )
    assert found == expected
    assert found  # the split leaves something to train on


def test_extra_columns_are_gathered_as_recbole_stores_them(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    lines = ["user_id:token\titem_id:token\trating:float\ttags:token_seq\ttimestamp:float"]
    for n in range(40):
        tags = " ".join(f"t{k}" for k in range(n % 3 + 1))
        lines.append(f"u{n % 4}\ti{n * 7 % 13}\t{n % 5 + 1}\t{tags}\t{n}")
    (folder / "toy.inter").write_text("\n".join(lines) + "\n")
    columns = ["user_id", "item_id", "rating", "tags", "timestamp"]
    config = toy_config(tmp_path, load_col={"inter": columns}, normalize_all=False)
    ours, theirs = UR4RecDataset(config).build(), recbole_parts(config)
    assert everything(ours[1])["tags_list"].ndim == 3
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert_same_rows(mine, other)


@SPLIT
def test_every_training_interaction_is_predicted_exactly_once_an_epoch(
    toy: Any, split: dict[str, Any]
) -> None:
    made = toy(eval_args=split)
    predicted: Counter = Counter()
    for batch in made.loaders[0]:
        chosen, targets = made.model._positions(batch, Positions(batch["item_id_list"] > 0))
        users = batch["user_id"][chosen.row]
        predicted.update(zip(users.tolist(), targets.tolist(), strict=True))
    train = made.train
    expected = Counter(
        (user, item)
        for user, items in by_user(train, train.seen_rows()).items()
        for item in items[1:]  # nothing precedes the first
    )
    assert predicted == expected


def test_every_training_interaction_of_ml100k_is_predicted_exactly_once(
    ml100k: tuple[UR4RecDataset, ...], recbole_ml100k: list[SequentialDataset]
) -> None:
    train = ml100k[0]
    rows = everything(recbole_ml100k[0])
    items = train.interactions[torch.from_numpy(train.target_rows())]
    found = Counter(zip(items["user_id"].tolist(), items["item_id"].tolist(), strict=True))
    assert found == Counter(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))
    assert len(train.target_rows()) == len(recbole_ml100k[0]) == 97171
    assert len(train) < len(recbole_ml100k[0]) / 30


@SPLIT
def test_no_training_row_holds_a_later_parts_target(toy: Any, split: dict[str, Any]) -> None:
    made = toy(eval_args=split)
    held_out: set[tuple[int, int]] = set()
    for part in (made.valid, made.test):
        if len(part):
            rows = everything(part)
            held_out |= set(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))
    assert held_out
    shown = set()
    for batch in made.loaders[0]:
        for user, items, target in zip(
            batch["user_id"].tolist(),
            batch["item_id_list"].tolist(),
            batch["item_id"].tolist(),
            strict=True,
        ):
            shown |= {(user, item) for item in [*items, target]}
    assert not shown & held_out  # a user's items are distinct in these data


def test_no_training_row_of_ml100k_reaches_a_held_out_interaction(
    ml100k: tuple[UR4RecDataset, ...],
) -> None:
    train, valid, test = ml100k
    first_held_out = dict(
        zip(
            everything(valid)["user_id"].tolist(),
            everything(valid)[HISTORY_END].tolist(),
            strict=True,
        )
    )
    rows = everything(train)
    for user, end in zip(rows["user_id"].tolist(), rows[HISTORY_END].tolist(), strict=True):
        assert end < first_held_out[user]
    assert not set(train.seen_rows()) & {*valid.target_rows(), *test.target_rows()}


def true_last_items(file: Path) -> dict[str, str]:
    """The item that closes each user's history by (time, file order)."""
    last: dict[str, tuple[float, str]] = {}
    for line in file.read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        if user not in last or float(time) >= last[user][0]:
            last[user] = (float(time), item)
    return {user: item for user, (_, item) in last.items()}


def test_all_test_items_of_ml100k_are_the_truly_last_ones(
    ml100k: tuple[UR4RecDataset, ...], ml100k_file: Path
) -> None:
    test = ml100k[2]
    rows = everything(test)
    users = test.id2token("user_id", rows["user_id"].numpy())
    items = test.id2token("item_id", rows["item_id"].numpy())
    assert dict(zip(users, items, strict=True)) == true_last_items(ml100k_file)


def test_recbole_alone_gets_some_test_items_of_ml100k_wrong(ml100k_file: Path) -> None:
    settings = {"train_neg_sample_args": None, "normalize_all": False, "state": "ERROR"}
    config = Config(model="SASRec", dataset="ml-100k", config_dict=settings)
    config["MAX_ITEM_LIST_LENGTH"] = 1
    truth = true_last_items(ml100k_file)
    wrong = {}
    for exact in (False, True):
        dataset = SequentialDataset(config)
        test = (sort_exactly(dataset) if exact else dataset).build()[2]
        rows = everything(test)
        users = test.id2token("user_id", rows["user_id"].numpy())
        items = test.id2token("item_id", rows["item_id"].numpy())
        wrong[exact] = sum(truth[u] != i for u, i in zip(users, items, strict=True))
    assert wrong[False] > 50  # else the repair is no longer needed
    assert wrong[True] == 0


def test_interactions_closer_than_float32_can_tell_keep_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    times = [880000003, 880000001, 880000004, 880000002, 880000005]
    lines = [f"u1\ti{n}\t{time}" for n, time in enumerate(times)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "toy.inter").write_text("\n".join([header, *lines]) + "\n")
    dataset = UR4RecDataset(toy_config(tmp_path, normalize_all=False))
    dataset.build()
    items = dataset.id2token("item_id", dataset.interactions["item_id"].numpy())
    assert list(items) == ["i1", "i3", "i0", "i2", "i4"]


def test_equal_times_keep_file_order(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    lines = [f"u{n % 2}\ti{n}\t1" for n in range(12)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "toy.inter").write_text("\n".join([header, *lines]) + "\n")
    dataset = UR4RecDataset(toy_config(tmp_path))
    dataset.build()
    items = list(dataset.id2token("item_id", dataset.interactions["item_id"].numpy()))
    assert items == [f"i{n}" for n in (*range(0, 12, 2), *range(1, 12, 2))]


def fingerprint(folder: Path, histories: dict[str, list[str]], **settings: Any) -> str:
    write_atomic_files(folder, histories)
    return training_fingerprint(UR4RecDataset(toy_config(folder, **settings)).build()[0])


def test_fingerprint_ignores_the_order_of_users_in_the_file(tmp_path: Path) -> None:
    ordered = sequences()
    backwards = dict(reversed(ordered.items()))
    assert fingerprint(tmp_path / "a", ordered) == fingerprint(tmp_path / "b", backwards)


def test_fingerprint_ignores_the_window_length(tmp_path: Path) -> None:
    short = fingerprint(tmp_path / "a", sequences(), MAX_ITEM_LIST_LENGTH=2)
    assert short == fingerprint(tmp_path / "b", sequences(), MAX_ITEM_LIST_LENGTH=50)


@pytest.mark.parametrize("position", [0, 3, 6])
def test_fingerprint_changes_with_any_training_interaction(tmp_path: Path, position: int) -> None:
    changed = sequences()
    user = f"u{LENGTHS.index(9) + 1}"
    taken = changed[user]
    changed[user] = [*taken[:position], "i99", *taken[position + 1 :]]
    assert fingerprint(tmp_path / "a", sequences()) != fingerprint(tmp_path / "b", changed)


@pytest.mark.parametrize("position", [7, 8])
def test_fingerprint_ignores_what_is_held_out(tmp_path: Path, position: int) -> None:
    changed = sequences()
    user = f"u{LENGTHS.index(9) + 1}"
    changed[user][position] = next(i for i in changed["u10"] if i not in changed[user])
    assert fingerprint(tmp_path / "a", sequences()) == fingerprint(tmp_path / "b", changed)


def test_fingerprint_changes_with_the_order_of_a_users_items(tmp_path: Path) -> None:
    changed = sequences()
    changed["u10"][2:4] = changed["u10"][2:4][::-1]
    assert fingerprint(tmp_path / "a", sequences()) != fingerprint(tmp_path / "b", changed)


def test_nothing_as_wide_as_a_window_is_stored(ml100k: tuple[UR4RecDataset, ...]) -> None:
    for part in ml100k:
        for feat in (part.inter_feat, part.interactions):
            for field, values in feat.interaction.items():
                assert values.ndim == 1, field
                assert len(values) <= 100_000, field
        others = [v for v in vars(part).values() if isinstance(v, torch.Tensor | np.ndarray)]
        assert all(values.size < 1_000_000 for values in others if isinstance(values, np.ndarray))
        assert all(v.numel() < 1_000_000 for v in others if isinstance(v, torch.Tensor))


def test_rows_can_be_asked_for_by_slice_mask_and_number(
    ml100k: tuple[UR4RecDataset, ...],
) -> None:
    valid = ml100k[1]
    whole = everything(valid)["item_id_list"]
    assert torch.equal(valid[3:7]["item_id_list"], whole[3:7])
    assert torch.equal(valid[torch.tensor([9, 2])]["item_id_list"], whole[[9, 2]])


def test_a_user_with_one_interaction_has_no_row(toy: Any) -> None:
    made = toy()
    lone = made.train.token2id("user_id", "u1")
    for part in (made.train, made.valid, made.test):
        assert lone not in part.inter_feat["user_id"].tolist()


@pytest.mark.parametrize(("held", "rows"), [(3 * (20 + 1) + 1, 3), (1, 1), (2**26, 8)])
def test_no_more_rows_are_scored_at_a_time_than_memory_has_room_for(
    toy: Any, held: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SCORES_HELD", held)
    made = toy(items=[f"i{n}" for n in range(1, 21)])
    assert made.train.item_num == 21
    assert made.config["eval_batch_size"] == rows
