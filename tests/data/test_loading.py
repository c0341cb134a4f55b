"""Every fault of a data set is one `InputError`, for our models and for RecBole's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset

from tests.properties import few
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.items import load_dataset
from ur4rec_recbole.runs.assembly import load_data

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]
HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ROWS = [f"u{n % 5}\ti{n * 7 % 30}\t{n % 5}\t{1e9 + n:.0f}" for n in range(60)]


def write(folder: Path, rows: list[str] = ROWS, header: str = HEADER, name: str = "toy") -> Path:
    (folder / name).mkdir(exist_ok=True)
    file = folder / name / f"{name}.inter"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def config(folder: Path, model: str = "UR4Rec", name: str = "toy", **settings: Any) -> Config:
    values = {"data_path": str(folder), "load_col": {"inter": COLUMNS}, "state": "ERROR",
              "topk": [5], "valid_metric": "NDCG@5", "metrics": ["NDCG"]}  # fmt: skip
    if model != "UR4Rec":
        values["train_neg_sample_args"] = None
    return Config(model, name, config_dict=values | settings)


def loaded(folder: Path, model: str = "UR4Rec", **settings: Any) -> tuple[Any, ...]:
    return load_data(config(folder, model, **settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TIME_FIELD": "time"}, "'TIME_FIELD' must name a column of toy.inter.*mean 'timestamp'"),
        ({"USER_ID_FIELD": "uid"}, "'USER_ID_FIELD'.*'item_id', 'rating', 'timestamp'.*'uid'"),
        ({"ITEM_ID_FIELD": "itemid"}, "'ITEM_ID_FIELD'.*mean 'item_id'"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "load_col.*'timestamp' .TIME_FIELD."),
        ({"load_col": {"inter": [*COLUMNS, "ratng"]}}, "load_col.*'ratng'|ratng.*mean 'rating'"),
        ({"load_col": {"inter": "user_id"}}, "load_col.*must list columns"),
        ({"load_col": {"inter": None}}, "load_col.*must list columns"),
        ({"load_col": {"item": ["item_id"]}}, "load_col.*must have 'user_id'"),
        ({"load_col": None, "unload_col": {"inter": ["timestamp"]}}, "must have 'timestamp'"),
        (
            {"load_col": {"inter": COLUMNS, "item": ["item_id"]}},
            "load_col': 'item' must be the ending",
        ),
        ({"load_col": {"inter": COLUMNS, "items": ["item_id"]}}, "Did you mean 'item'"),
        ({"val_interval": {"timestamp": "[0,1700000250000]"}}, "must be in seconds since 1970"),
        ({"val_interval": {"timestamp": "[20240105,inf)"}}, "must be in seconds since 1970"),
        ({"user_inter_num_interval": "[50,inf)"}, r"user_inter_num_interval: \[50,inf\)"),
        ({"user_inter_num_interval": "5"}, "'user_inter_num_interval' must be an interval.*'5'"),
        ({"user_inter_num_interval": ""}, "must be an interval"),
        ({"item_inter_num_interval": "[a,b]"}, "'item_inter_num_interval' must be an interval"),
        ({"item_inter_num_interval": "(9,2]"}, "must be an interval"),
        ({"val_interval": {"rating": "4"}}, "'val_interval: rating' must be an interval"),
        ({"val_interval": {"rating": "[9,inf)"}}, "val_interval"),
        ({"val_interval": {"stars": "[1,2]"}}, "stars"),
        ({"topk": [5, 31], "valid_metric": "NDCG@5"}, "'topk' must not exceed .* 30"),
        ({"encoding": "ascii-8"}, "'encoding'"),
        ({"field_separator": ","}, "separated by ','"),
    ],
)
def test_a_configuration_that_does_not_fit_the_files_is_refused(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match=f"(?s){said}"):
        loaded(tmp_path, **settings)


def changed(row: int, cell: int, text: str) -> Callable[[list[str]], list[str]]:
    def change(rows: list[str]) -> list[str]:
        cells = rows[row].split("\t")
        cells[cell] = text
        return [*rows[:row], "\t".join(cells), *rows[row + 1 :]]

    return change


@pytest.mark.parametrize("model", ["UR4Rec", "SASRec"])
@pytest.mark.parametrize(
    ("change", "header", "said"),
    [
        (lambda rows: [], HEADER, "toy"),
        (changed(3, 0, ""), HEADER, "user_id, line 5 must hold an id"),
        (changed(3, 1, ""), HEADER, "item_id, line 5 must hold an id"),
        (changed(3, 1, "[PAD]"), HEADER, "item_id, line 5 must hold an id"),
        (changed(3, 1, "x" * 20_000), HEADER, "at most 10000 characters"),
        (changed(3, 2, "good"), HEADER, "rating, line 5 must hold finite numbers.*'good'"),
        (changed(3, 2, "inf"), HEADER, "rating, line 5"),
        (changed(3, 3, ""), HEADER, "timestamp, line 5 must hold a time"),
        (changed(3, 3, "1e999"), HEADER, "timestamp, line 5"),
        (lambda rows: rows[3:7], HEADER, "the (training|validation|test) part must have a target"),
        (lambda rows: rows[:10], HEADER, "the (training|validation|test) part must have a target"),
        (lambda rows: rows[:15], HEADER, "the (training|validation|test) part must have a target"),
        (list, HEADER.replace("user_id:token", "user_id:float"), "user_id.*must be of type token"),
        (list, HEADER.replace("timestamp:float", "timestamp:float_seq"), "timestamp.*float or tok"),
        (list, HEADER.replace("rating:float", "rating:integer"), "line 1.*'rating:integer'"),
    ],
)
def test_a_damaged_file_is_refused(
    tmp_path: Path, model: str, change: Callable[[list[str]], list[str]], header: str, said: str
) -> None:
    write(tmp_path, change(ROWS), header)
    with pytest.raises(InputError, match=f"(?s){said}"):
        loaded(tmp_path, model)


def test_a_data_set_that_there_is_not_is_refused_with_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="Data set 'toyy'.*Did you mean 'toy'"):
        load_dataset("toyy", overrides={"data_path": str(tmp_path)})
    with pytest.raises(InputError, match="Did you mean 'ml-100k'"):
        load_dataset("ml-100", overrides={"data_path": str(tmp_path)})
    (tmp_path / "toy" / "toy.inter").rename(tmp_path / "toy" / "toys.inter")
    with pytest.raises(InputError, match="Did you mean 'toys.inter'"):
        load_dataset("toy", overrides={"data_path": str(tmp_path)})


def test_the_words_of_recbole_are_kept_where_we_have_none(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="ValueError: Field .stars. not in inter_feat"):
        loaded(tmp_path, threshold={"stars": 3})


@pytest.mark.parametrize("model", ["UR4Rec", "SASRec"])
def test_no_token_is_taken_for_missing_and_no_quote_for_a_bracket(
    tmp_path: Path, model: str
) -> None:
    names = ['"Alpha', 'Omega"', "NA", "null", "nan", "None", " a", "a", "#N/A"]
    rows = [f"u{user}\t{name}\t1\t{1e9 + n:.0f}" for user in range(3) for n, name in
            enumerate(names)]  # fmt: skip
    write(tmp_path, rows)
    made = create_dataset(config(tmp_path, model))
    assert made.inter_num == len(rows)
    assert made.field2id_token["item_id"].tolist() == ["[PAD]", *names]


def test_quotes_in_titles_take_no_item_away(tmp_path: Path) -> None:
    write(tmp_path)
    titles = {3: '"Title', 20: '"'}
    lines = [f"i{n}\t{titles.get(n, n)}\tNA g{n % 3}" for n in range(30)]
    header = "item_id:token\ttitle:token\tgenres:token_seq"
    (tmp_path / "toy" / "toy.item").write_text("\n".join([header, *lines]) + "\n")
    columns = {"inter": COLUMNS, "item": ["item_id", "genres"]}
    made = create_dataset(config(tmp_path, load_col=columns))
    assert made.item_num == 31 and made.inter_num == 60
    assert set(made.field2id_token["genres"]) == {"[PAD]", "NA", "g0", "g1", "g2"}


def test_an_empty_cell_that_is_no_id_is_missing(tmp_path: Path) -> None:
    write(tmp_path)
    lines = [f"i{n}\t{'' if n % 2 else 1990 + n % 3}\t{'' if n == 4 else n}" for n in range(30)]
    header = "item_id:token\tyear:token\tprice:float"
    (tmp_path / "toy" / "toy.item").write_text("\n".join([header, *lines]) + "\n")
    columns = {"inter": COLUMNS, "item": "*"}
    made = create_dataset(config(tmp_path, load_col=columns, normalize_all=False))
    items = made.item_feat.set_index("item_id")
    assert items.loc[made.token2id("item_id", "i1"), "year"] == 0
    known = [n for n in range(30) if n != 4]
    price = items.loc[made.token2id("item_id", "i4"), "price"]
    assert price == pytest.approx(np.mean(known))  # as RecBole fills numbers


def test_dates_as_tokens_give_the_order_and_the_seconds_of_numbers(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(60)
    write(tmp_path, [ROWS[n] for n in shuffled])
    numbers = create_dataset(config(tmp_path, normalize_all=False))
    stamps = np.datetime_as_string(np.datetime64("2001-09-09T01:46:40") + np.arange(60))
    rows = [f"{ROWS[n].rpartition(chr(9))[0]}\t{stamps[n]}" for n in shuffled]
    write(tmp_path, rows, HEADER.replace("timestamp:float", "timestamp:token"))
    dates = create_dataset(config(tmp_path, normalize_all=False))
    assert dates.inter_feat["timestamp"].dtype == np.float64
    assert dates.inter_feat.equals(numbers.inter_feat)
    assert dates.field2type["timestamp"] == numbers.field2type["timestamp"]


def test_a_general_model_needs_no_times(tmp_path: Path) -> None:
    write(tmp_path, [row.rpartition("\t")[0] for row in ROWS], HEADER.rpartition("\t")[0])
    columns = {"inter": ["user_id", "item_id"]}
    settings = {"load_col": columns, "train_neg_sample_args": None}
    train, *_ = loaded(tmp_path, "Pop", **settings)
    assert train._dataset.inter_num > 0
    by_time = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "full"}
    with pytest.raises(InputError, match="'TIME_FIELD'"):
        loaded(tmp_path, "Pop", eval_args=by_time, **settings)


@few
@given(
    content=st.binary(max_size=80),
    start=st.sampled_from([b"", HEADER.encode(), f"{HEADER}\n{ROWS[0]}\n".encode()]),
)
def test_any_bytes_are_a_data_set_or_refused(tmp_path: Path, content: bytes, start: bytes) -> None:
    write(tmp_path).write_bytes(start + content)
    try:
        create_dataset(config(tmp_path)).build()
    except InputError:
        pass


@few
@given(data=st.data())
def test_damaged_rows_are_a_data_set_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    rows = [row.split("\t") for row in ROWS]
    for _ in range(data.draw(st.integers(1, 3))):
        row, cell = data.draw(st.integers(0, 59)), data.draw(st.integers(0, 3))
        rows[row][cell] = data.draw(st.text(max_size=5) | st.sampled_from(["", "nan", "-1", "1e9"]))
    text = "\n".join([HEADER, *("\t".join(cells) for cells in rows)])
    write(tmp_path).write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        create_dataset(config(tmp_path)).build()
    except InputError:
        pass


def test_interactions_that_an_item_file_costs_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    (tmp_path / "toy" / "toy.item").write_text(
        "item_id:token\n" + "\n".join(f"i{n}" for n in range(20))
    )
    loaded(tmp_path, load_col={"inter": COLUMNS, "item": ["item_id"]}, state="WARNING")
    assert "of 60 interactions are left out, whose user or item is not in" in caplog.text
