import json

import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.extract.texts_file import read_texts

LAYOUTS = {
    "plain.json": '{"i1": "one", "i2": "two"}',
    "list.json": '[{"item_id": "i1", "text": "one"}, {"item_id": "i2", "text": "two"}]',
    "lines.jsonl": '{"id": "i1", "description": "one"}\n\n{"id": "i2", "description": "two"}\n',
    "table.csv": '\ufeffItem_ID,Text\ni1,one\n\ni2,"two"\n',
    "table.tsv": "asin\ttitle\ni1\tone\ni2\ttwo\n",
}


def read(tmp_path, name, words, *columns):
    data = words if isinstance(words, bytes) else words.encode()
    (tmp_path / name).write_bytes(data)
    return read_texts(str(tmp_path / name), *columns)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_texts(tmp_path, name):
    assert read(tmp_path, name, LAYOUTS[name]) == {"i1": "one", "i2": "two"}


def test_named_columns_are_joined(tmp_path):
    assert read(tmp_path, "t.csv", "key,a,b\ni1,one,two\n", "key", ["a", "b"]) == {"i1": "one two"}


def test_quoted_cells_hold_commas_quotes_and_line_ends(tmp_path):
    words = 'id,text\ni1,"Good, bad and ""ugly""\nin two lines"\ni2,b\n'
    assert read(tmp_path, "t.csv", words) == {"i1": 'Good, bad and "ugly"\nin two lines', "i2": "b"}


def test_a_text_that_is_null_or_empty_is_no_text(tmp_path):
    assert read(tmp_path, "t.json", '{"a": null, "b": "", "c": "x"}') == {
        "a": "",
        "b": "",
        "c": "x",
    }


def test_ids_may_be_whole_numbers(tmp_path):
    assert read(tmp_path, "t.jsonl", '{"id": 12, "text": "x"}\n') == {"12": "x"}


def test_halves_of_a_character_are_joined_or_replaced(tmp_path):
    words = '{"a": "\\ud83d\\ude00", "b": "cut \\ud83d"}'
    assert read(tmp_path, "t.json", words) == {"a": "\U0001f600", "b": "cut \ufffd"}


@pytest.mark.parametrize("value", [["a", "b"], 5, 1.5, float("nan"), True, {"en": "x"}])
def test_a_value_that_is_no_text_is_refused_with_its_record(tmp_path, value):
    records = [{"id": "i1", "text": "x"}, {"id": "i2", "text": value}]
    layouts = {
        "t.json": json.dumps({"i1": "x", "i2": value}),
        "l.json": json.dumps(records),
        "t.jsonl": "\n\n".join(json.dumps(record) for record in records),
    }
    places = {"t.json": "id 'i2'", "l.json": "record 2", "t.jsonl": "line 3"}
    for name, words in layouts.items():
        with pytest.raises(InputError, match=f"{places[name]}.*must hold a text") as refusal:
            read(tmp_path, name, words)
        assert type(value).__name__ in str(refusal.value) and "i2" in str(refusal.value)


@pytest.mark.parametrize("value", [None, "", " ", 1.0, True, ["a"]])
def test_an_id_that_is_none_is_refused_with_its_record(tmp_path, value):
    with pytest.raises(InputError, match="line 1: column 'id' must hold an item's id"):
        read(tmp_path, "t.jsonl", json.dumps({"id": value, "text": "x"}))


@pytest.mark.parametrize(
    ("name", "words", "places"),
    [
        ("t.csv", "id,text\na,b\nc,d\na,e\n", ["'a'", "line 4", "line 2"]),
        ("t.jsonl", '{"id": 1, "text": "x"}\n{"id": "1", "text": "x"}\n', ["'1'", "line 1"]),
        ("l.json", '[{"id": "a", "text": ""}, {"id": "a", "text": "x"}]', ["'a'", "record 2"]),
        ("t.json", '{"a": "x", "b": "y", "a": "z"}', ["'a'", "second time"]),
    ],
)  # fmt: skip
def test_an_id_that_comes_twice_is_named_with_both_places(tmp_path, name, words, places):
    with pytest.raises(InputError) as refusal:
        read(tmp_path, name, words)
    assert all(place in str(refusal.value) for place in places)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("t.json", '{"a": ', "must be JSON in UTF-8"),
        ("t.json", "[" * 100_000, "must be JSON in UTF-8"),
        ("t.json", "5", "a single int"),
        ("t.json", '{"a": "caf\xe9"}'.encode("latin-1"), "JSON in UTF-8"),
        ("t.csv", "id,text\na,caf\xe9\n".encode("latin-1"), "CSV in UTF-8"),
        ("t.csv", "id,text\na,b\n".encode("utf-16"), "CSV in UTF-8"),
        ("t.csv", "id,text\ni1,Good, bad\n", "line 2 must have as many cells"),
        ("t.csv", 'id,text\ni1,"two\nlines"\ni2,Good, bad\n', "line 4 must have as many cells"),
        ("t.tsv", "id\ttext\ni1\tGood\tbad\n", "line 2 must have as many cells"),
        ("t.csv", "id,text\ni1\n", "line 2 must have as many cells"),
        ("t.csv", 'id,text\ni1,"never closed\ni2,b\n', "CSV in UTF-8"),
        ("t.csv", 'id,text\ni1,"Good" and bad\n', "quotes around"),
        ("t.csv", "id,text,text\na,b,c\n", "the column 'text' for a second time"),
        ("t.csv", "id;text\na;b\n", "--id-column"),
        ("t.csv", "key,words\na,b\n", "--id-column"),
        ("t.jsonl", '{"id": "a", "text": "x"}\n{"id": \n', "line 2"),
        ("t.jsonl", '{"id": "a", "text": "x"}\n[1]\n', "line 2 must be an object"),
        ("t.jsonl", '{"id": "a", "text": "x"}\n{"id": "b", "title": "y"}\n', "no such column"),
        ("t.xlsx", "PK", "must be a file that ends in one of"),
    ],
)
def test_a_broken_texts_file_is_refused_with_its_place(tmp_path, name, words, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, name, words)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_texts(str(tmp_path / "t.csv"))
