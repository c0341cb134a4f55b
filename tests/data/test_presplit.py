"""presplit: files that were split beforehand make the same data set as one that is split here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from tests.conftest import SMALL, Toy, sequences
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data import presplit
from ur4rec_recbole.data.dataset import SECONDS, sort_exactly, training_fingerprint
from ur4rec_recbole.data.times import read_time_lists
from ur4rec_recbole.runs.quick_start import run

FILES = ["train", "valid", "test"]
TIMES = 1_500_000_001  # odd: float32 would round it


def leave_one_out(
    histories: Mapping[str, Sequence[str]], longest_only: bool = False, cut: int = 99
) -> dict[str, list[tuple[str, int]]]:
    """Return rows (user, place of the target) by file, as leave-one-out splits."""
    rows: dict[str, list[tuple[str, int]]] = {name: [] for name in FILES}
    for user, items in histories.items():
        targets = list(range(1, len(items)))
        parts = {"test": targets[-1:], "valid": targets[-2:-1], "train": targets[:-2]}
        if len(items) == 2:  # RecBole keeps one row for training
            parts = {"train": targets}
        elif len(items) == 3:
            parts = {"train": targets[:1], "test": targets[1:]}
        for name, places in parts.items():
            rows[name] += [(user, place) for place in places]
    if longest_only:
        last = {user: place for user, place in rows["train"]}
        rows["train"] = list(last.items())
    return rows


def write_split(
    folder: Path,
    rows: Mapping[str, Sequence[tuple[str, int]]],
    cut: int,
    times: bool,
    unit: int = 1,
) -> None:
    """Write the files of `rows`, each history cut to its newest `cut` items.

    `unit` is how many units of time make a second.
    """
    histories = sequences()
    (folder / "toy").mkdir(parents=True)
    for name, found in rows.items():
        head = "user_id:token\titem_id_list:token_seq\titem_id:token"
        lines = [head + ("\ttimestamp_list:float_seq\ttimestamp:float" if times else "")]
        for user, place in found:
            items, seen = histories[user], slice(max(0, place - cut), place)
            cells = [user, " ".join(items[seen]), items[place]]
            if times:
                when = [str(unit * (TIMES + 10 * step)) for step in range(len(items))]
                cells += [" ".join(when[seen]), when[place]]
            lines.append("\t".join(cells))
        (folder / "toy" / f"toy.{name}.inter").write_text("\n".join(lines) + "\n")


@pytest.fixture
def split_toy(tmp_path: Path) -> Any:
    """Return a factory of toys that are read from split files."""

    def build(
        cut: int = 99,
        times: bool = True,
        longest_only: bool = False,
        unit: int = 1,
        **settings: Any,
    ) -> Toy:
        folder = tmp_path / f"split{len(list(tmp_path.iterdir()))}"
        write_split(folder, leave_one_out(sequences(), longest_only), cut, times, unit)
        columns = ["user_id", "item_id_list", "item_id"]
        columns += ["timestamp_list", "timestamp"] if times else []
        values = SMALL | {
            "data_path": str(folder), "benchmark_filename": FILES,
            "load_col": {"inter": columns}, "alias_of_item_id": ["item_id_list"],
        }  # fmt: skip
        config = Config(model="UR4Rec", dataset="toy", config_dict=values | settings)
        init_seed(config["seed"], True)
        dataset = sort_exactly(create_dataset(config))
        return Toy(config, dataset, data_preparation(config, dataset))

    return build


def as_tokens(toy: Toy, part: Any) -> list[tuple[str, tuple[str, ...], str]]:
    """Return a part's rows as (user, shown history, target), sorted."""
    rows = toy.rows(part)
    found = []
    for user, seq, length, item in zip(
        rows["user_id"], rows["item_id_list"], rows["item_length"], rows["item_id"], strict=True
    ):
        shown = tuple(part.id2token("item_id", seq[:length].numpy()))
        found.append(
            (str(part.id2token("user_id", user)), shown, str(part.id2token("item_id", item)))
        )
    return sorted(found)


def parts(toy: Toy) -> tuple[Any, Any, Any]:
    return toy.train, toy.valid, toy.test


@pytest.mark.parametrize("cut", [99, 5])
@pytest.mark.parametrize("times", [True, False])
def test_split_files_are_what_splitting_here_makes(
    toy: Any, split_toy: Any, cut: int, times: bool
) -> None:
    here, before = toy(), split_toy(cut, times)
    for ours, theirs in zip(parts(here), parts(before), strict=True):
        assert as_tokens(here, ours) == as_tokens(before, theirs)
        assert (ours.inter_matrix("csr").nnz, len(ours.target_rows())) == (
            theirs.inter_matrix("csr").nnz, len(theirs.target_rows())
        )  # fmt: skip
    # A user with one interaction alone has no row in split files.
    counts = here.train.training_counts[here.item_ids([f"i{n}" for n in range(1, 21)])]
    alone = here.item_ids(sequences()["u1"])
    theirs = before.train.training_counts[before.item_ids([f"i{n}" for n in range(1, 21)])]
    assert (counts - theirs).sum() == len(alone) == 1 or (counts == theirs).all()
    assert training_fingerprint(before.train) == training_fingerprint(here.train)


def test_one_long_row_a_user_is_trained_at_all_its_positions(split_toy: Any) -> None:
    every, longest = split_toy(), split_toy(longest_only=True)
    whole = [np.sort(each.train.target_rows()) for each in (every, longest)]
    short = [n for n in map(len, sequences().values()) if n <= 8]  # within one window
    assert len(whole[1]) < len(whole[0])
    assert len(longest.train) == sum(n > 1 for n in map(len, sequences().values()))
    assert training_fingerprint(every.train) == training_fingerprint(longest.train)
    assert len(whole[1]) >= sum(max(n - 3, 1) for n in short if n > 1)


def test_times_stay_exact(split_toy: Any) -> None:
    made = split_toy(time_intervals=True, normalize_all=True)
    rows = made.rows(made.test)
    ends = rows["item_length"] - 1
    newest = rows[f"{SECONDS}_list"].gather(1, ends.unsqueeze(1)).squeeze(1)
    assert torch.equal(rows[SECONDS] - newest, torch.full_like(newest, 10.0))
    assert rows[SECONDS].dtype == torch.float64


def test_a_model_trains_on_split_files(split_toy: Any) -> None:
    made = split_toy(stages=["pretrain_sasrec", "end_to_end"])
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert 0 <= trainer.evaluate(made.loaders[2])["ndcg@10"] <= 1


@pytest.mark.parametrize("model", ["UR4Rec", "SASRec"])
def test_a_whole_run_reports_recboles_metrics(split_toy: Any, model: str) -> None:
    """Its own table is for one target a user, which files need not have."""
    keys = ("data_path", "benchmark_filename", "load_col", "alias_of_item_id")
    config = split_toy(cut=5).config
    settings = {key: config[key] for key in keys} | {"epochs": 1, "state": "ERROR"}
    settings |= {"MAX_ITEM_LIST_LENGTH": 5, "train_neg_sample_args": None}
    settings["data_path"] = str(Path(settings["data_path"]).parent)
    own = {"stages": ["pretrain_sasrec"]} if model == "UR4Rec" else {}
    result = run(model, "toy", config_dict=settings | own)
    assert 0 <= result["test_result"]["ndcg@10"] <= 1


def test_a_row_that_does_not_follow_begins_a_chain_of_its_own() -> None:
    users, length = np.array([3, 3, 3]), np.array([2, 1, 2])
    items = np.array([1, 2, 9, 7, 8, 2, 9, 4])  # (1 2 | 9), (7 | 8), (2 9 | 4)
    places, start, end = presplit._join(users, items, length, np.array([0, 2, 1]))
    assert items[places[3]].tolist() == [1, 2, 9, 4, 7, 8]
    assert start.tolist() == [0, 4, 0]
    assert end.tolist() == [2, 5, 3]


def test_windows_tile_a_chain_from_its_end() -> None:
    ends = np.array([1, 2, 3, 4, 5, 8])
    starts, length = np.array([0] * 5 + [7]), np.minimum([1, 2, 3, 4, 5, 1], 2)
    assert presplit.tiling(starts, ends, length).tolist() == [0, 2, 4, 5]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"alias_of_item_id": None}, "alias_of_item_id"),
        ({"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}, "item_id_list"),
        ({"times": False, "time_intervals": True}, "timestamp_list"),
        ({"times": False, "shuffle_gap": 0}, "timestamp_list"),
    ],
)
def test_what_the_files_lack_is_named(split_toy: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        split_toy(**settings)


def test_histories_have_times_in_seconds_as_their_targets_have(split_toy: Any) -> None:
    seconds, thousandths = (split_toy(unit=unit).train.interactions for unit in (1, 1000))
    assert np.array_equal(seconds["exact_seconds"], thousandths["exact_seconds"])
    assert seconds["exact_seconds"].min() >= TIMES


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([[1.5e9, 1.5e12], [1.5e9, 1.6e9]], "line 2 .*one unit"),
        ([[1.5e9], [np.nan, 1.5e9]], "line 3"),
        ([[20240105.0], [20240106.0]], "since 1970"),
    ],
)
def test_lists_of_times_that_cannot_be_read_are_refused(cells: Any, told: str) -> None:
    column = pd.Series([np.array(each) for each in cells], name="timestamp_list")
    with pytest.raises(InputError, match=told):
        read_time_lists(column, "toy.train.inter")


def test_a_list_of_times_must_be_numbers(split_toy: Any, tmp_path: Path) -> None:
    config = split_toy(times=True).config
    for file in Path(config["data_path"]).glob("*.inter"):
        file.write_text(file.read_text().replace("_list:float_seq", "_list:token_seq"))
    with pytest.raises(InputError, match="float_seq"):
        create_dataset(config)


@pytest.mark.parametrize("files", [["train", "test"], "train"])
def test_a_run_needs_a_file_for_each_part(files: Any) -> None:
    with pytest.raises(InputError, match="validation"):
        presplit.require_three_files({"benchmark_filename": files})


@pytest.mark.parametrize(
    "given",
    [
        {"item_inter_num_interval": "[2,inf)"},
        {"val_interval": {"timestamp": "[1,inf)"}},
        {"rm_dup_inter": "first"},
    ],
)
def test_filters_that_split_files_would_not_see_are_refused(
    split_toy: Any, given: dict[str, Any]
) -> None:
    config = split_toy().config
    config.final_config_dict.update(given)
    with pytest.raises(InputError, match="must be unset with benchmark_filename"):
        create_dataset(config)


def test_two_files_make_two_parts(split_toy: Any) -> None:
    """As RecBole's example of session-based models reads them, without a validation part."""
    config = split_toy().config
    config["benchmark_filename"] = ["train", "test"]
    train, test = create_dataset(config).build()
    assert train.predicts_all_positions and not test.predicts_all_positions
    assert len(test) == sum(n > 2 for n in map(len, sequences().values()))


def test_sorting_leaves_split_files_alone(tmp_path: Path, split_toy: Any) -> None:
    """Of RecBole's own models too, whose rows stay in their files."""
    made = split_toy()
    before = made.dataset.inter_feat
    assert sort_exactly(made.dataset).inter_feat is before
