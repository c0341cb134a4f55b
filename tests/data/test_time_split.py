"""A split at two moments: who is in which part, with which history, for whichever model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recbole.config import Config

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs import quick_start
from ur4rec_recbole.runs.assembly import load_data

# One user from the beginning, one that pauses, one that comes after the second moment.
ROWS = [
    ("old", "i1", 10), ("two", "i1", 15), ("old", "i2", 20), ("old", "i3", 30), ("old", "i4", 45),
    ("two", "i6", 55), ("two", "i7", 58), ("new", "i2", 62), ("old", "i5", 65), ("new", "i8", 70),
    ("new", "i9", 80),
]  # fmt: skip


def config(
    folder: Path, model: str, moments: Any = (40, 60), rows: Any = ROWS, **more: Any
) -> Config:
    (folder / "toy").mkdir(exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += ["\t".join(map(str, row)) for row in reversed(rows)]
    (folder / "toy" / "toy.inter").write_text("\n".join(lines) + "\n")
    settings = {
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"TS": list(moments)}, "order": "TO", "mode": "full"},
        "train_neg_sample_args": None, "topk": [1], "valid_metric": "Hit@1", "metrics": ["Hit"],
        "state": "ERROR", "show_progress": False,
    }  # fmt: skip
    return Config(model, "toy", None, settings | more)


def told(part: Any) -> list[tuple[str, list[str], str]]:
    """Return user, history and target of each row."""
    rows = part[np.arange(len(part))]
    users = part.id2token("user_id", rows["user_id"].numpy())
    targets = part.id2token("item_id", rows["item_id"].numpy())
    lists = part.id2token("item_id", rows["item_id_list"].numpy())
    histories = [[each for each in row if each != "[PAD]"] for row in lists]
    return sorted(zip(users.tolist(), histories, targets.tolist(), strict=True))


@pytest.mark.parametrize("normalize_all", [False, True])
@pytest.mark.parametrize("model", ["UR4Rec", "SASRec"])
def test_targets_are_each_users_next_interaction_after_a_moment(
    tmp_path: Path, model: str, normalize_all: bool
) -> None:
    made = config(tmp_path, model, normalize_all=normalize_all)
    train, valid, test = (each._dataset for each in load_data(made))
    assert told(valid) == [("old", ["i1", "i2", "i3"], "i4"), ("two", ["i1"], "i6")]
    assert told(test) == [("new", ["i2"], "i8"), ("old", ["i1", "i2", "i3", "i4"], "i5")]
    learned = {item for _, history, target in told(train) for item in [*history, target]}
    assert learned == {"i1", "i2", "i3"}


def test_what_comes_after_the_first_moment_is_not_counted_as_training(tmp_path: Path) -> None:
    train, _, test = (each._dataset for each in load_data(config(tmp_path, "UR4Rec")))
    tokens = train.field2id_token["item_id"]
    counted = {tokens[item] for item in np.flatnonzero(test.training_counts)}
    assert counted == {"i1", "i2", "i3"}


@pytest.mark.parametrize("model", ["UR4Rec", "SASRec", "Pop"])
@pytest.mark.parametrize("normalize_all", [False, True])
def test_times_that_float32_cannot_tell_from_a_moment_stay_on_their_side(
    tmp_path: Path, model: str, normalize_all: bool
) -> None:
    """Ten seconds of one day, which as float32 are one time, and a year before them."""
    begun = 1_700_000_000
    rows = [("u", "i0", begun - 3e7), *(("u", f"i{n + 1}", begun + n) for n in range(10))]
    rows += [("v", "i0", begun - 3e7), ("v", "i3", begun + 2), ("v", "i4", begun + 3)]
    moments = (begun + 3, begun + 6)
    made = config(tmp_path, model, moments, rows=rows, normalize_all=normalize_all)
    train, valid, test = (each._dataset for each in load_data(made))
    targets = {part: [part.id2token("item_id", row) for row in part.inter_feat["item_id"].numpy()]
               for part in (train, valid, test)}  # fmt: skip
    assert targets[valid] == ["i4", "i4"] and targets[test] == ["i7"]
    assert not {"i4", "i5", "i6", "i7", "i8"} & set(targets[train])
    assert "i3" in targets[train]


@pytest.mark.parametrize("before", [{"TS": [40, 60]}, {"LS": "valid_and_test"}])
def test_a_cached_data_set_is_split_where_the_configuration_says(
    tmp_path: Path, before: Any
) -> None:
    cached = {"save_dataset": True, "checkpoint_dir": str(tmp_path)}
    earlier = {"eval_args": {"split": before, "order": "TO", "mode": "full"}}
    load_data(config(tmp_path, "UR4Rec", **cached, **earlier))
    found = load_data(config(tmp_path, "UR4Rec", (25, 46), **cached))
    fresh = load_data(config(tmp_path, "UR4Rec", (25, 46)))
    for part, other in zip(found, fresh, strict=True):
        assert told(part._dataset) == told(other._dataset)


def test_what_a_data_set_is_known_by_does_not_depend_on_its_split(tmp_path: Path) -> None:
    moments, one_out = {"TS": [40, 60]}, {"LS": "valid_and_test"}
    known = {
        load_data(config(tmp_path, "UR4Rec", eval_args={"split": how, "order": "TO"}))[
            0
        ]._dataset.fingerprint
        for how in (moments, one_out)
    }
    assert len(known) == 1


def test_times_before_1970_are_split_in_their_order(tmp_path: Path) -> None:
    rows = [("u", f"i{n}", -1_700_000_000 + n) for n in range(10)] + [("u", "i99", -1.6e9)]
    made = config(tmp_path, "UR4Rec", (-1_699_999_997, -1_699_999_994), rows=rows)
    _, valid, test = (each._dataset for each in load_data(made))
    assert told(valid) == [("u", ["i0", "i1", "i2"], "i3")]
    assert told(test) == [("u", [f"i{n}" for n in range(6)], "i6")]


def test_a_run_has_the_final_table_of_one_target_a_user(tmp_path: Path) -> None:
    made = config(tmp_path, "Pop")
    result = quick_start.run("Pop", "toy", None, made.external_config_dict)
    assert set(result.metrics["test"]) >= {"full", "full_masked"}


@pytest.mark.parametrize("moments", [(60, 40), (40, 40), (40, float("nan")), (40,), (1, 2, 3, 4)])
def test_moments_out_of_order_are_refused(tmp_path: Path, moments: Any) -> None:
    with pytest.raises(InputError, match="eval_args"):
        config(tmp_path, "UR4Rec", moments)


def test_an_empty_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the test part must have a target"):
        load_data(config(tmp_path, "UR4Rec", (40, 1000)))
