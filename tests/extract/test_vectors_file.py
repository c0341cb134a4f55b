"""`ur4rec extract vectors`: what other tools made becomes a table, or is refused and told why."""

from pathlib import Path

import numpy as np
import pytest

from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.vectors_file import read_vectors


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def archive(path: Path, tokens: np.ndarray, vectors: np.ndarray) -> str:
    np.savez(path, token=tokens, vector=vectors)
    return str(path)


@pytest.mark.parametrize("ending", ["npz", "csv", "tsv"])
def test_every_kind_of_file_gives_the_same_table(tmp_path, ending):
    if ending == "npz":
        path = archive(tmp_path / "v.npz", np.array(["a,b", "7"]), np.array([[1, 2], [0, 0.5]]))
    else:
        mark = "," if ending == "csv" else "\t"
        lines = (["id", "x", "y"], ['"a,b"', "1", "2.0"], ["7", "0", "5e-1"])
        path = written(tmp_path / f"v.{ending}", "\n".join(mark.join(line) for line in lines))
    tokens, vectors = read_vectors(path)
    assert tokens.tolist() == ["a,b", "7"] and vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 2], [0, 0.5]]


def test_half_precision_stays_and_bytes_are_read_as_text(tmp_path):
    vectors = np.ones((2, 3), np.float16)
    tokens, found = read_vectors(archive(tmp_path / "v.npz", np.array([b"i1", b"i2"]), vectors))
    assert tokens.tolist() == ["i1", "i2"] and found.dtype == np.float16
    numbers, _ = read_vectors(archive(tmp_path / "w.npz", np.array([17, 4]), vectors))
    assert numbers.tolist() == ["17", "4"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "0 rows"),
        ("id\na\nb", "2 rows of 1 columns"),
        ("id,x,y\na,1,2\nb,1", "2 cells in line 3, and 3 columns"),
        ("id,x\na,1\nb,one", "line 3"),
        ("id,x\na,1\nb,", "line 3"),
        ('id,x\na,"1', "unexpected end of data"),
    ],
)
def test_a_table_of_something_else_is_refused_with_the_place(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        read_vectors(written(tmp_path / "v.csv", text))


@pytest.mark.parametrize(
    ("tokens", "vectors"),
    [
        (np.array(["a"]), np.array([1.0])),
        (np.array([["a"]]), np.ones((1, 2))),
        (np.array(["a"]), np.array([["x"]])),
        (np.array(["a", "b"]), np.ones((1, 2))),
        (np.array(["a"]), np.ones((1, 2), dtype=complex)),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, tokens, vectors):
    with pytest.raises(InputError):
        read_vectors(archive(tmp_path / "v.npz", tokens, vectors))


def test_the_command_writes_a_table_of_the_items_of_a_data_set(toy, tmp_path, capsys):
    rows = written(tmp_path / "v.csv", "id,x,y\ni3,1,2\nstranger,3,4\ni1,5,6")
    made = ["--encoder", "sonar", "--encoder-version", "2", "--output", str(tmp_path / "t.npz")]
    words = ["extract", "vectors", "--vectors", rows, "--modality", "audio", *made]
    assert main([*words, *toy]) == 0
    assert "width 2, 2 of 14 items; 1 of other items left out" in capsys.readouterr().out
    table = FeatureTable.load(tmp_path / "t.npz")
    assert table.tokens.tolist() == ["i3", "i1"] and table.vectors.tolist() == [[1, 2], [5, 6]]
    told = {key: table.provenance[key] for key in ("kind", "encoder", "encoder_version")}
    assert told == {"kind": "item_audio", "encoder": "sonar", "encoder_version": "2"}
    assert main(words) == 0  # without a data set all of them
    assert len(FeatureTable.load(tmp_path / "t.npz")) == 3


@pytest.mark.parametrize(
    ("text", "modality", "told"),
    [
        ("id,x\ni1,nan", "audio", "NaN"),
        ("id,x\ni1,1e60", "audio", "must be finite"),
        ("id,x\ni1,1\ni1,2", "audio", "must be distinct"),
        ("id,x\n1,1\n2,2", "audio", "must be those of items of 'toy'"),
        ("id,x\ni1,1", "Audio Track", "item_tables"),
        ("id,x\ni1,1", "profile", "item_tables"),
    ],
)
def test_the_command_refuses_what_no_table_may_hold(toy, tmp_path, capsys, text, modality, told):
    rows, output = written(tmp_path / "v.csv", text), tmp_path / "t.npz"
    words = ["--vectors", rows, "--modality", modality, "--encoder", "e", "--output", str(output)]
    assert main(["extract", "vectors", *words, *toy]) == 2
    assert told in capsys.readouterr().err and not output.exists()


def test_nothing_is_unpickled(tmp_path):
    path = archive(tmp_path / "v.npz", np.array(["a", {}], dtype=object), np.ones((2, 2)))
    with pytest.raises(InputError, match="pickled"):
        read_vectors(path)
