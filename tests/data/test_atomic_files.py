"""Atomic files are read as they stand."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import few
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data import quick_cells
from ur4rec_recbole.data.atomic_files import read_cells, read_header

# All that UTF-8 can write but what parts cells and lines.
CELL = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), max_size=12)
NAMES = ["item_id:token", "title:token", "words:token_seq"]


def file(folder: Path, content: bytes) -> Path:
    path = folder / "toy.item"
    path.write_bytes(content)
    return path


@few
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8))
def test_what_was_written_is_read(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    lines = ["\t".join(cells) for cells in (NAMES, *rows)]
    path = file(tmp_path, ("\n".join(lines) + "\n").encode())
    found = read_cells(path)
    assert list(found) == ["item_id", "title", "words"]
    assert list(found.itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize("title", ['"Great', 'Omega"', "NA", "null", "nan", "", " a ", "a\\", "'"])
def test_a_quote_is_a_character_and_na_a_name(tmp_path: Path, title: str) -> None:
    path = file(tmp_path, f"item_id:token\ttitle:token\n1\t{title}\n2\tB\n".encode())
    assert read_cells(path)["title"].tolist() == [title, "B"]


def test_lines_may_end_as_windows_ends_them_and_empty_ones_end_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, b"item_id:token\tx:float\r\n1\t2\r\n3\t4\r\n\r\n\n")
    assert read_cells(path)["x"].tolist() == ["2", "4"]


def test_only_wanted_columns_are_kept_in_the_files_order(tmp_path: Path) -> None:
    path = file(tmp_path, b"a:token::b:float::c:token_seq\n1::2::3\n")
    found = read_cells(path, "::", wanted=["c", "a"])
    assert found.to_dict("list") == {"a": ["1"], "c": ["3"]}


def test_another_encoding_can_be_named(tmp_path: Path) -> None:
    path = file(tmp_path, "item_id:token\tt:token\n1\té\n".encode("utf-16"))
    assert read_cells(path, encoding="utf-16")["t"].tolist() == ["é"]
    path = file(tmp_path, "\ufeffitem_id:token\n1\n".encode())
    assert list(read_header(path, encoding="utf-8-sig")) == ["item_id"]


HEAD = b"item_id:token\ttitle:token\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1.*an empty line"),
        (b"\n1\tA\n", "line 1.*an empty line"),
        (b"1\tA\n2\tB\n", "line 1.*every column a name.*Write for example"),
        (b"item_id\ttitle\n1\tA\n", "line 1.*'item_id'.*user_id:token"),
        (b"item_id:token,title:token\n1,A\n", "field_separator: ','"),
        (b"item_id:tokens\ttitle:token\n", "'item_id:tokens'.*Did you mean 'token'"),
        (b"item_id:number\n1\n", "'item_id:number'"),
        (b"item_id:token\titem_id:token\n1\t2\n", "'item_id:token' a second time"),
        (b":token\ttitle:token\n1\t2\n", "':token'"),
        (b"a:b:token\ttitle:token\n1\t2\n", "'a:b:token'"),
        (b"\xef\xbb\xbf" + HEAD, "byte order mark.*utf-8-sig"),
        (HEAD.decode().encode("utf-16"), "must be text in utf-8.*line 1"),
        (HEAD + b"1\tA\n2\t\xe9t\xe9\n", "must be text in utf-8.*line 3.*latin-1"),
        (HEAD + b"1\tA\n2\n", "line 3 must have 2 cells.*Received 1"),
        (HEAD + b"1\tA\tB\n", "line 2 must have 2 cells.*Received 3"),
        (HEAD + b"1\tA\n\n2\tB\n", "line 3 must have 2 cells.*Received 0"),
        (HEAD + b"1\tA\n2\tB\0\n", "line 3.*NUL"),
        (HEAD + b"1\tA\n2\t" + b"x" * 10_000_000 + b"\n", "line 3.*fewer than a million"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"(?s){said}"):
        read_cells(file(tmp_path, content))


def test_an_encoding_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'encoding'.*utf-9"):
        read_cells(file(tmp_path, HEAD), encoding="utf-9")


@few
@given(content=st.binary(max_size=60), start=st.sampled_from([b"", HEAD, HEAD + b"1\tA\n"]))
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, content: bytes, start: bytes) -> None:
    try:
        found = read_cells(file(tmp_path, start + content))
    except InputError:
        return
    assert len(found.columns) >= 1


ODD = st.sampled_from(["\r", "\n", "\r\n", "\n\n", "\t", '"', "\\", "NA", "\0", "é", " ", "a", ""])


@few
@given(texts=st.lists(ODD, max_size=12), head=st.sampled_from(["a:token\tb:float\n", "a:token\n"]))
def test_arrow_reads_what_is_read_line_by_line_or_nothing(
    tmp_path: Path, texts: list[str], head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    path = file(tmp_path, (head + "1\t2\n" + "".join(texts)).encode())
    header = list(read_header(path))
    quickly = quick_cells.read(path, "\t", "utf-8", header, range(len(header)))
    if quickly is None:
        return
    with monkeypatch.context() as patched:
        patched.setattr(quick_cells, "read", lambda *_: None)
        pd.testing.assert_frame_equal(quickly, read_cells(path))


@pytest.mark.parametrize("length", [400_000, 700_000, 1_100_000])
def test_arrow_reads_no_line_that_is_too_long(tmp_path: Path, length: int) -> None:
    pytest.importorskip("pyarrow")
    path = file(tmp_path, HEAD + b"1\tA\n2\t" + b"x" * length + b"\n3\tB\n")
    quickly = quick_cells.read(path, "\t", "utf-8", ["item_id", "title"], [0, 1])
    assert (quickly is None) or length < 1_000_000
    if length < 1_000_000:
        assert len(read_cells(path)["title"][1]) == length


def test_a_large_file_of_ids_that_recur_keeps_their_order(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    ids = [f"i{n * 7919 % 5003}" for n in range(200_000)]  # more than Arrow reads at a time
    lines = "".join(f"{item}\t{n}\n" for n, item in enumerate(ids))
    path = file(tmp_path, ("item_id:token\tx:float\n" + lines).encode())
    found = quick_cells.read(path, "\t", "utf-8", ["item_id", "x"], [1, 0])
    assert found is not None and list(found) == ["x", "item_id"]
    assert found["item_id"].tolist() == ids
    assert found["x"].tolist() == [str(n) for n in range(200_000)]
