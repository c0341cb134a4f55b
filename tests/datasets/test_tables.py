"""Any table of interactions becomes a data set that reads back as the table was."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset

from tests.properties import few
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.atomic_files import read_cells
from ur4rec_recbole.data.dataset import SECONDS
from ur4rec_recbole.datasets.table_columns import names_of
from ur4rec_recbole.datasets.table_files import read_table
from ur4rec_recbole.datasets.tables import Columns, Rules, from_dataframe

ORDERS = [
    ("anna", "007", "2024-01-05T10:00:00Z"),
    ("anna", "A;1", "2024-01-05T12:00:00+01:00"),
    ("bob", "007", "2024-01-06T00:00:00Z"),
    ("bob", "Käse", "2024-01-07T00:00:00.250Z"),
]
SECONDS_OF_ORDERS = [1704448800.0, 1704452400.0, 1704499200.0, 1704585600.25]


def frame(rows: Any = ORDERS, names: Any = ("customer", "sku", "ordered_at")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(names))


def as_csv(delimiter: str) -> bytes:
    return frame().to_csv(sep=delimiter, index=False).encode()


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("o.csv", as_csv(","), "comma"),
        ("o.csv", as_csv(";"), "semicolon"),
        ("o.tsv", as_csv("\t"), "tab"),
        ("o.csv.gz", gzip.compress(as_csv("|")), "bar"),
        ("o.csv", as_csv(",").decode().encode("utf-16"), "UTF-16"),
        ("o.csv", b"\xef\xbb\xbf" + as_csv(","), "UTF-8"),
        ("o.csv", as_csv(";").decode().encode("cp1252"), "guessed"),
        ("o.jsonl", frame().to_json(orient="records", lines=True).encode(), "JSON"),
    ],
)
def test_every_kind_of_file_gives_the_same_table(
    name: str, content: bytes, form: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_table(tmp_path / name)
    assert found.frame.values.tolist() == frame().values.tolist()
    assert form in found.form


def test_parquet_keeps_whole_ids_whole_where_others_are_missing(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = frame([(1, 5, 10), (None, 6, 11), (3, 7, 12)]).convert_dtypes()
    rows.to_parquet(tmp_path / "o.parquet")
    data = from_dataframe(read_table(tmp_path / "o.parquet").frame)
    assert data.interactions.user_id.tolist() == ["1", "3"]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([1704448800, 1704452400], [1704448800.0, 1704452400.0]),
        (["1704448800123", "1704452400000"], [1704448800.123, 1704452400.0]),
        ([1704448800123456789, 1704452400000000000], [1704448800.1234567, 1704452400.0]),
        (["20240105", "20240106"], [1704412800.0, 1704499200.0]),
        ([2024010510, 2024010511], [1704448800.0, 1704452400.0]),
        ([202401051000, 202401051100], [1704448800.0, 1704452400.0]),
        (["20240105100000", "20240105110000"], [1704448800.0, 1704452400.0]),
        (["2024-01-05 10:00:00", "2024-01-05"], [1704448800.0, 1704412800.0]),
        (["2024-01-05T10:00:00+02:00", "2024-01-05T10:00Z"], [1704441600.0, 1704448800.0]),
        (pd.to_datetime([1704448800.5, 1704412800.0], unit="s"), [1704448800.5, 1704412800.0]),
        (["1704448800.123", "1704585600.25"], [1704448800.123, 1704585600.25]),
        ([1, 2], [1.0, 2.0]),
    ],
)  # fmt: skip
def test_times_become_seconds_whatever_their_form(times: Any, seconds: list[float]) -> None:
    rows = pd.DataFrame({"user": ["u", "v"], "item": ["a", "b"], "time": times})
    assert from_dataframe(rows).interactions.timestamp.tolist() == seconds


def test_what_is_written_reads_back_as_it_was(tmp_path: Path) -> None:
    items = pd.DataFrame({"sku": ["007", "A;1"], "name": ["Bond\tfilm", "Ä"], "text": ["x", ""]})
    from_dataframe(frame(), items).write(tmp_path / "shop")
    folder = tmp_path / "shop"
    config = Config(
        "UR4Rec", "shop", [str(folder / "shop.yaml")],
        {"data_path": str(tmp_path), "state": "ERROR"},
    )  # fmt: skip
    data = create_dataset(config)
    rows = data.inter_feat
    found = [
        (data.id2token("user_id", row.user_id), data.id2token("item_id", row.item_id))
        for row in rows.itertuples()
    ]
    assert found == [row[:2] for row in ORDERS]
    assert rows[SECONDS].tolist() == pytest.approx(SECONDS_OF_ORDERS, abs=1e-6)
    lines = (folder / "shop.inter").read_text().split("\n")[1:-1]
    assert [float(line.split("\t")[2]) for line in lines] == SECONDS_OF_ORDERS
    assert json.loads((folder / "shop.texts.json").read_text()) == {"007": "x"}
    assert (folder / "shop.item").read_text().split("\n")[1] == "007\tBond film"


def test_guesses_and_losses_are_told() -> None:
    rows = frame([*ORDERS, ORDERS[0], ("anna", "007", "2024-02-01"), ("", "x", "2024-02-01")])
    items = pd.DataFrame({"sku": ["007", "007", "unsold"], "name": ["a", "b", "c"]})
    data = from_dataframe(rows, items)
    told = "\n".join(data.notes)
    for each in (
        "column 'customer', guessed",
        "1 rows without user_id",
        "1 rows with the user, item and time of another",
        "1 repeats of an item by the same user: keep",
        "1 rows of items without an id, or with that of another",
        "2 items of the interactions are not in the items table",
        "1 items without interactions: left out",
    ):
        assert each in told
    assert len(data.interactions) == 5
    assert data.items.values.tolist() == [["007", "a"]]


@pytest.mark.parametrize(("repeats", "kept"), [("keep", [1, 2, 3]), ("first", [1]), ("last", [3])])
def test_of_repeats_those_asked_for_are_kept(repeats: str, kept: list[int]) -> None:
    rows = pd.DataFrame({"user": "u", "item": "a", "time": [3, 1, 2]})
    found = from_dataframe(rows, rules=Rules(repeats=repeats)).interactions
    assert found.timestamp.tolist() == kept


@pytest.mark.parametrize("dtype_backend", ["numpy_nullable", "pyarrow"])
def test_long_ids_stay_whole_where_others_are_missing(dtype_backend: Any) -> None:
    if dtype_backend == "pyarrow":
        pytest.importorskip("pyarrow")
    text = (
        "user,item,time\na,1234567890123456789,1700000000\na,1234567890123456790,1700000001\nb,,1\n"
    )
    rows = pd.read_csv(io.StringIO(text), dtype_backend=dtype_backend)
    found = from_dataframe(rows).interactions
    assert found.item_id.tolist() == ["1234567890123456789", "1234567890123456790"]


@pytest.mark.parametrize(
    ("rules", "columns"),
    [
        (Rules(all_items=True), Columns()),
        (Rules(file_order=True), Columns(time="ordered_at")),
        (Rules(file_order=True, time_format="%d/%m/%Y"), Columns()),
    ],
)
def test_rules_of_what_is_not_there_are_refused(rules: Rules, columns: Columns) -> None:
    with pytest.raises(InputError, match="--all-items must come|must not come with --file-order"):
        from_dataframe(frame(), None, columns, rules)


def test_interactions_with_items_that_the_items_table_lacks_stay(tmp_path: Path) -> None:
    rows = [(f"u{n % 8}", f"i{n % 10}", n) for n in range(80)]
    items = pd.DataFrame({"sku": ["i0", "i1", "unsold"]})
    from_dataframe(frame(rows), items, rules=Rules(all_items=True)).write(tmp_path / "shop")
    about = [str(tmp_path / "shop" / "shop.yaml")]
    config = Config("UR4Rec", "shop", about, {"data_path": str(tmp_path), "state": "ERROR"})
    data = create_dataset(config)
    assert len(data.inter_feat) == 80 and data.item_num == 1 + 11


@pytest.mark.parametrize(
    "cell",
    [
        "['Action', 'Sci-Fi']", '["Action","Sci-Fi"]', "{Action,Sci-Fi}", "Action|Sci-Fi",
        ["Action", "Sci-Fi"], " [ 'Action' , 'Sci-Fi' ] ",
    ],
)  # fmt: skip
def test_a_list_of_categories_is_read_however_it_is_written(cell: Any) -> None:
    assert names_of(cell) == ["Action", "Sci-Fi"]


def test_categories_that_are_objects_are_refused() -> None:
    items = pd.DataFrame({"sku": ["007"], "genres": ["[{'id': 16, 'name': 'Animation'}]"]})
    with pytest.raises(InputError, match="items: genres must hold texts, numbers or lists"):
        from_dataframe(frame(), items)


def test_one_damaged_byte_of_utf_8_is_named_and_other_encodings_are_read_far_in(
    tmp_path: Path,
) -> None:
    pytest.importorskip("charset_normalizer")
    file = tmp_path / "o.csv"
    file.write_bytes("u,i\n1,Café\n2,".encode() + b"Caf\xe9\n")
    with pytest.raises(InputError, match="line 3: UTF-8 is damaged there"):
        read_table(file)
    rows = "".join(f"{n},{'plain ' * 5}\n" for n in range(9000))
    file.write_bytes(f"u,i\n{rows}9999,Café\n".encode("cp1252"))
    found = read_table(file)
    assert len(found.frame) == 9001 and "guessed" in found.form


def test_a_k_core_drops_until_all_have_enough() -> None:
    # c is too rare; without it v has one interaction left, and without v so has nothing else
    pairs = [("u", "a"), ("u", "b"), ("w", "a"), ("w", "b"), ("v", "b"), ("v", "c")]
    rows = pd.DataFrame(pairs, columns=["user", "item"]).assign(time=range(6))
    found = from_dataframe(rows, rules=Rules(k_core=2)).interactions
    assert set(found.user_id) == {"u", "w"} and set(found.item_id) == {"a", "b"}


def test_items_that_nobody_has_had_stay_on_request(tmp_path: Path) -> None:
    items = pd.DataFrame({"sku": ["007", "new"], "name": ["a", "b"]})
    data = from_dataframe(frame(), items, rules=Rules(all_items=True))
    data.write(tmp_path / "shop")
    assert data.items.item_id.tolist() == ["007", "new", "A;1", "Käse"]
    assert data.items.title.tolist() == ["a", "b", "", ""]
    assert "item: [item_id]" in (tmp_path / "shop" / "shop.yaml").read_text()


def test_polars_and_pandas_give_the_same() -> None:
    polars = pytest.importorskip("polars")
    from_polars = from_dataframe(polars.from_dicts(frame().to_dict("records")))
    assert from_polars.interactions.equals(from_dataframe(frame()).interactions)


def test_without_times_the_order_of_the_rows_is_taken_on_request() -> None:
    rows = frame()[["customer", "sku"]]
    with pytest.raises(InputError, match="--time"):
        from_dataframe(rows)
    found = from_dataframe(rows, rules=Rules(file_order=True)).interactions
    assert found.timestamp.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (frame(names=("x", "sku", "date")), Columns(), "the user column"),
        (frame(), Columns(user="custmer"), "Did you mean 'customer'"),
        (frame(names=("user_id", "sku", "UserID")), Columns(), "must be one"),
        (frame([("u", "a", "05.01.2024")]), Columns(), "--time-format"),
        (frame([("u", "a", 1704448800), ("u", "b", 1704448800123)]), Columns(), "in seconds"),
        (frame([("u", "a\tb", 1)]), Columns(), "no tabs"),
        (frame([("u", "[PAD]", 1)]), Columns(), "[PAD]"),
        (frame([("u", "x" * 10_001, 1)]), Columns(), "10000 characters"),
        (frame([("u", {"id": 1}, 1)]), Columns(), "texts or numbers"),
        (frame([("u", ["a"], 1)]), Columns(), "texts or numbers"),
        (frame([(b"u", "a", 1)]), Columns(), "texts or numbers"),
        (frame([(True, "a", 1)]), Columns(), "texts or numbers"),
        (frame([("u", "a", "nan"), ("u", "b", "2024-01-05")]), Columns(), "row 1"),
        (frame([("u", "a", "today"), ("u", "b", "2024-01-05")]), Columns(), "row 1"),
        (frame([("u", "a", "now")]), Columns(), "row 1"),
        (frame(names=("user_id", "sku", "sku")), Columns(), "different names"),
        (frame([("u", "a", "2024-01-05"), ("u", "b", "05/01/2024")]), Columns(), "row 2"),
        (frame([("u", "a", 133497006000000000)]), Columns(), "a time from 1995 to 2100"),
        (frame([("u", "a", 638401086000000000)]), Columns(), "a time from 1995 to 2100"),
        (frame([("u", "i", 1, 2)], ["user", "sku", "time", "date"]), Columns(), "must be one"),
        (frame(), Columns(title="name"), "--title must come with a table of items"),
        (frame(), Columns(text=("a", "b")), "--text must come with a table of items"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_one_message(rows: Any, columns: Columns, told: str) -> None:
    with pytest.raises(InputError) as error:
        from_dataframe(rows, None, columns)
    assert told in str(error.value)


@pytest.mark.parametrize("form", ["mixed", "ISO8601", "%H:%M", "%d.%m."])
def test_a_form_of_times_tells_the_year_and_guesses_nothing(form: str) -> None:
    rows = frame([("u", "a", "01/02/2024")])
    with pytest.raises(InputError, match="--time-format"):
        from_dataframe(rows, rules=Rules(time_format=form))


@pytest.mark.parametrize("title", [{"en": "x"}, b"x", {1}, ["x", {"en": "y"}]])
def test_a_title_that_is_no_text_is_refused(title: Any) -> None:
    items = pd.DataFrame({"sku": ["007"], "name": [title]})
    with pytest.raises(InputError, match="items: name must hold texts"):
        from_dataframe(frame(), items)


def test_titles_and_texts_that_utf_8_cannot_hold_are_repaired(tmp_path: Path) -> None:
    items = pd.DataFrame({"sku": ["007"], "name": ["a\ud800\0b"], "text": [["c\udfff", None]]})
    from_dataframe(frame(), items).write(tmp_path / "shop")
    assert (tmp_path / "shop" / "shop.item").read_text().split("\n")[1] == "007\ta? b"
    assert json.loads((tmp_path / "shop" / "shop.texts.json").read_text()) == {"007": "c?"}


def test_an_items_table_without_any_id_has_no_texts() -> None:
    data = from_dataframe(frame(), pd.DataFrame({"sku": ["", None], "text": ["one", "two"]}))
    assert not data.texts and "2 rows of items without an id" in "\n".join(data.notes)


def test_a_missing_library_for_other_encodings_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    (tmp_path / "o.csv").write_bytes(as_csv(";").decode().encode("cp1252"))
    with pytest.raises(InputError, match=r"charset-normalizer must be installed.*\[tables\]"):
        read_table(tmp_path / "o.csv")


def test_spaces_around_ids_are_told() -> None:
    data = from_dataframe(frame([("u ", "a", 1), ("u", "b", 2)]))
    assert data.interactions.user_id.tolist() == ["u", "u"]
    assert "1 user ids with spaces around them: taken without" in data.notes


def test_an_item_file_of_before_goes_with_its_interactions(tmp_path: Path) -> None:
    items = pd.DataFrame({"sku": ["007"], "name": ["Bond"]})
    from_dataframe(frame(), items).write(tmp_path / "shop")
    assert (tmp_path / "shop" / "shop.item").exists()
    from_dataframe(frame()).write(tmp_path / "shop")
    assert not (tmp_path / "shop" / "shop.item").exists()


def test_a_column_that_pandas_wrote_as_its_index_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame().set_index("customer").to_parquet(tmp_path / "o.parquet")
    data = from_dataframe(read_table(tmp_path / "o.parquet").frame)
    assert set(data.interactions.user_id) == {"anna", "bob"}


# What a cell of one line may be, but for spaces around it, which are left out and told.
ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\0"), min_size=1, max_size=9
).filter(lambda text: text == text.strip() and text != "[PAD]")  # fmt: skip


@few
@given(
    rows=st.lists(
        st.tuples(ids, ids, st.floats(-1e9, 4e9)), min_size=1, max_size=8, unique_by=lambda r: r[2]
    ),
    suffix=st.sampled_from(["csv", "tsv", "jsonl"]),
)
def test_any_ids_and_times_come_back_from_recbole_as_they_were(
    tmp_path: Path, rows: list[tuple[str, str, float]], suffix: str
) -> None:
    table, file = frame(rows, ("user", "item", "time")), tmp_path / f"o.{suffix}"
    if suffix == "jsonl":
        lines = [json.dumps(row) for row in table.to_dict("records")]
        file.write_text("\n".join(lines), encoding="utf-8")
    else:
        table.to_csv(file, index=False, sep="," if suffix == "csv" else "\t")
    found = read_table(file).frame
    from_dataframe(found).write(tmp_path / "shop")
    read = read_cells(tmp_path / "shop" / "shop.inter")
    back = zip(read.user_id, read.item_id, map(float, read.timestamp), strict=True)
    assert sorted(back) == sorted(rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("o.xlsx", b"PK"),
        ("o.csv", b'user,item,title\n1,2,"Best" of\n3,4,x\n'),
        ("o.csv", b'user,item\n1,"2\n3,4\n'),
        ("o.tsv", b'user\titem\n1\t"2\n3\t4"\n'),
        ("o.csv", "user,item\n1,2\n".encode("utf-16-le")),
        ("o.jsonl", b'{"user": 1, "user": 2}\n'),
        ("o.jsonl", b'[["user", 1]]\n'),
        ("o.jsonl", b"[" * 100_000),
        ("o.csv", b"user,item\n"),
        ("o.csv", b"user,user\n1,2\n"),
        ("o.csv", b"user,item\n1,2,3\n"),
        ("o.csv", b"user,item,time\n1,2\n"),
        ("o.csv", b""),
        ("o.csv.gz", gzip.compress(b"user,item\n1,2\n", mtime=0)[:-9]),
        ("o.jsonl", b'{"user": 1}\nnonsense\n'),
        ("o.parquet", b"PAR1"),
    ],
)
def test_a_file_that_is_no_table_is_one_message(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"table '{name}'"):
        read_table(tmp_path / name)


def test_the_command_tells_what_it_did_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame().to_csv(tmp_path / "orders.csv", index=False)
    words = f"convert table --interactions {tmp_path}/orders.csv --output {tmp_path}/shop"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "column 'ordered_at', guessed" in out
    assert "Next: ur4rec train --preset small" in out
    assert main([*words.split(), "--file-order"]) == 0  # whose row numbers are no seconds
    assert "Next: ur4rec train --preset sparse" in capsys.readouterr().out
    assert main([*words.split(), "--time-format", "%Q"]) == 2
