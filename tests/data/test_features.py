"""FeatureTable: what is read is what was written, and nothing unsound is read."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_table
from tests.properties import few
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import PROVENANCE_KEYS, FeatureTable, token_rows

TOKENS = ["a", "b", "c"]


@pytest.fixture
def table() -> FeatureTable:
    return make_table("item_text", TOKENS, 4)


def raw(path: Path, **arrays: Any) -> Path:
    """Write an .npz as anyone might, starting from a sound table."""
    sound = make_table("item_text", TOKENS, 4)
    values: dict[str, Any] = {
        "tokens": sound.tokens,
        "vectors": sound.vectors,
        "provenance": np.array(json.dumps(dict(sound.provenance))),
    }
    values.update(arrays)
    np.savez(path, **{key: value for key, value in values.items() if value is not None})
    return path


def test_a_saved_table_comes_back_whole(tmp_path: Path, table: FeatureTable) -> None:
    table.save(tmp_path / "t.npz")
    back = FeatureTable.load(tmp_path / "t.npz")
    assert back.tokens.tolist() == TOKENS
    assert np.array_equal(back.vectors, table.vectors)
    assert back.vectors.dtype == table.vectors.dtype
    assert dict(back.provenance) == dict(table.provenance)
    assert back.lengths is None
    assert (len(back), back.width) == (3, 4)


def test_a_saved_profile_table_keeps_its_lengths(tmp_path: Path) -> None:
    make_table("user_profile", ["u", "u", "v"], 4, lengths=[1, 3, 2]).save(tmp_path / "t.npz")
    assert FeatureTable.load(tmp_path / "t.npz").lengths.tolist() == [1, 3, 2]


def test_the_same_table_gives_the_same_bytes(
    tmp_path: Path, table: FeatureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.save(tmp_path / "first.npz")
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2031, 1, 1, 1, 1, 1, 0, 1, 0))
    table.save(tmp_path / "second.npz")
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


def test_numpy_can_read_a_saved_table(tmp_path: Path, table: FeatureTable) -> None:
    table.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["provenance", "tokens", "vectors"]
        assert np.array_equal(archive["vectors"], table.vectors)


def test_pickled_arrays_are_refused_without_being_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    bomb = np.array([Bomb(), Bomb(), Bomb()], dtype=object)
    path = raw(tmp_path / "t.npz", tokens=bomb)
    with pytest.raises(InputError, match="without pickled objects"):
        FeatureTable.load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("missing", ["tokens", "vectors", "provenance"])
def test_a_file_without_an_array_is_refused(tmp_path: Path, missing: str) -> None:
    path = raw(tmp_path / "t.npz", **{missing: None})
    with pytest.raises(InputError, match=missing):
        FeatureTable.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.npz.*no such file"):
        FeatureTable.load(tmp_path / "nowhere.npz")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        FeatureTable.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a table", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(InputError, match="t.npz"):
        FeatureTable.load(tmp_path / "t.npz")


def test_a_truncated_table_is_refused(tmp_path: Path, table: FeatureTable) -> None:
    table.save(tmp_path / "t.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    (tmp_path / "t.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="t.npz"):
        FeatureTable.load(tmp_path / "t.npz")


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    make_table("item_text", [f"i{n}" for n in range(50)], 8).save(tmp_path / "t.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "t.npz") as archive:
        start = archive.getinfo("vectors.npy").header_offset + 100
    for offset in range(start, start + 200, 10):
        damaged = bytearray(whole)
        damaged[offset] ^= 0xFF
        (tmp_path / "t.npz").write_bytes(bytes(damaged))
        with pytest.raises(InputError, match="t.npz"):
            FeatureTable.load(tmp_path / "t.npz")


def test_a_bare_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "t.npz").open("wb") as file:
        np.save(file, np.zeros((3, 4)))
    with pytest.raises(InputError, match="t.npz"):
        FeatureTable.load(tmp_path / "t.npz")


@pytest.mark.parametrize("text", ["not json", "[]", "null", '"kind"', "3"])
def test_provenance_that_is_no_json_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = raw(tmp_path / "t.npz", provenance=np.array(text))
    with pytest.raises(InputError, match="provenance"):
        FeatureTable.load(path)


def test_provenance_that_no_file_can_hold_is_refused(tmp_path: Path, table: FeatureTable) -> None:
    text = json.dumps(table.provenance | {"encoder": "half \ud83d"})
    with pytest.raises(InputError, match="JSON as provenance"):
        FeatureTable.load(raw(tmp_path / "t.npz", provenance=np.array(text)))


@pytest.mark.parametrize("key", PROVENANCE_KEYS)
def test_missing_provenance_is_refused(table: FeatureTable, key: str) -> None:
    known = {k: v for k, v in table.provenance.items() if k != key}
    with pytest.raises(InputError, match=f"provenance.*{key}"):
        FeatureTable(table.tokens, table.vectors, known)


@pytest.mark.parametrize("kind", ["smell", "item_", "item_Smell", "user_smell", "", None, 3])
def test_an_unknown_kind_is_refused(table: FeatureTable, kind: object) -> None:
    with pytest.raises(InputError, match="kind item_MODALITY or user_profile"):
        FeatureTable(table.tokens, table.vectors, {**table.provenance, "kind": kind})


def test_a_table_may_be_of_any_modality_of_items(table: FeatureTable) -> None:
    made = FeatureTable(table.tokens, table.vectors, {**table.provenance, "kind": "item_smell"})
    assert made.provenance["kind"] == "item_smell"


def test_only_profiles_have_lengths_and_all_of_them(table: FeatureTable) -> None:
    with pytest.raises(InputError, match="lengths"):
        FeatureTable(table.tokens, table.vectors, table.provenance, np.array([1, 2, 3]))
    with pytest.raises(InputError, match="lengths"):
        FeatureTable(
            table.tokens, table.vectors, {**table.provenance, "kind": "user_profile"}, None
        )


@pytest.mark.parametrize(
    ("tokens", "vectors"),
    [
        (np.array(TOKENS), np.zeros((2, 4))),
        (np.array(TOKENS), np.zeros(3)),
        (np.array(TOKENS), np.zeros((3, 0))),
        (np.array(TOKENS), np.zeros((3, 4), dtype=int)),
        (np.array(TOKENS), np.zeros((3, 4), dtype=complex)),
        (np.array([TOKENS]), np.zeros((1, 4))),
    ],
    ids=["fewer vectors", "flat", "no width", "integers", "complex", "nested tokens"],
)
def test_wrong_shapes_and_types_are_refused(
    table: FeatureTable, tokens: np.ndarray, vectors: np.ndarray
) -> None:
    with pytest.raises(InputError, match="arrays"):
        FeatureTable(tokens, vectors, table.provenance)


def test_a_duplicate_token_is_refused_by_name(table: FeatureTable) -> None:
    with pytest.raises(InputError, match="distinct.*'b'"):
        FeatureTable(np.array(["a", "b", "b"]), table.vectors, table.provenance)


def test_a_profile_may_recur_at_another_length_only() -> None:
    make_table("user_profile", ["u", "u"], lengths=[1, 2])
    with pytest.raises(InputError, match="distinct.*u after 2"):
        make_table("user_profile", ["u", "u"], lengths=[2, 2])


@pytest.mark.parametrize("length", [0, -1])
def test_a_profile_of_nothing_is_refused(length: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        make_table("user_profile", ["u", "v"], lengths=[1, length])


def test_lengths_that_are_no_integers_are_refused() -> None:
    sound = make_table("user_profile", ["u", "v"], lengths=[1, 2])
    for lengths in (np.array([1.5, 2.0]), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="lengths"):
            FeatureTable(sound.tokens, sound.vectors, sound.provenance, lengths)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_token(table: FeatureTable, value: float) -> None:
    vectors = table.vectors.copy()
    vectors[1, 2] = value
    with pytest.raises(InputError, match="finite.*'b'"):
        FeatureTable(table.tokens, vectors, table.provenance)


def test_an_unknown_token_is_refused_by_name(table: FeatureTable) -> None:
    with pytest.raises(InputError, match="1 unknown tokens, such as \\['c'\\]"):
        table.align(["[PAD]", "b", "a"])


def test_an_unknown_token_may_be_left_out(table: FeatureTable) -> None:
    vectors, present = table.align(["[PAD]", "b", "a"], allow_unknown=True)
    assert present.tolist() == [False, True, True]
    assert np.array_equal(vectors[1], table.vectors[1])


def test_rows_go_to_the_ids_of_their_tokens(table: FeatureTable) -> None:
    vectors, present = table.align(np.array(["[PAD]", "c", "x", "a", "b"]))
    assert present.tolist() == [False, True, False, True, True]
    assert np.array_equal(vectors[[1, 3, 4]], table.vectors[[2, 0, 1]])
    assert not vectors[[0, 2]].any()
    assert vectors.dtype == np.float32


def test_padding_is_never_present() -> None:
    table = make_table("item_text", ["[PAD]", "a"])
    with pytest.raises(InputError, match="PAD"):
        table.align(["[PAD]", "a"])
    assert token_rows(table, ["[PAD]", "a"], allow_unknown=True).tolist() == [0, 1]


def test_number_tokens_match_recboles_strings(tmp_path: Path) -> None:
    path = raw(tmp_path / "t.npz", tokens=np.array([1, 2, 30]))
    _, present = FeatureTable.load(path).align(np.array(["[PAD]", "30", "2", "1"]))
    assert present.tolist() == [False, True, True, True]


def test_an_interrupted_save_leaves_the_old_table(
    tmp_path: Path, table: FeatureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.save(tmp_path / "t.npz")
    before = (tmp_path / "t.npz").read_bytes()
    written = []

    def fail(file: Any, array: np.ndarray, **kwargs: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(file.write(b"half"))

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(KeyboardInterrupt):
        make_table("item_text", ["z"]).save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]


def test_values_beyond_float32_are_refused_by_token(table: FeatureTable) -> None:
    vectors = table.vectors.astype(np.float64)
    vectors[1, 2] = 1e300
    with pytest.raises(InputError, match="finite in float32.*'b'"):
        FeatureTable(table.tokens, vectors, table.provenance)


@pytest.mark.parametrize("length", [2**31, 2**61, 2**64 - 1])
def test_a_length_that_no_history_has_is_refused(length: int) -> None:
    sound = make_table("user_profile", ["u", "v"], lengths=[1, 2])
    lengths = np.array([1, length], dtype=np.uint64)
    with pytest.raises(InputError, match=f"at most 2147483647.*{length}"):
        FeatureTable(sound.tokens, sound.vectors, sound.provenance, lengths)


@pytest.mark.parametrize("depth", [25, 500, 100_000])
def test_provenance_that_is_nested_too_deeply_is_refused(tmp_path: Path, depth: int) -> None:
    known = json.dumps(dict(make_table("item_text", TOKENS).provenance))
    text = f'{known[:-1]}, "more": {"[" * depth}{"]" * depth}}}'
    with pytest.raises(InputError, match="provenance"):
        FeatureTable.load(raw(tmp_path / "t.npz", provenance=np.array(text)))


@pytest.mark.parametrize("saved", [True, False])
def test_vectors_that_lie_column_by_column_stay_with_their_tokens(
    tmp_path: Path, saved: bool
) -> None:
    """So they lie in a transposed array, or a data frame's; a map of the file must know it."""
    vectors = np.asfortranarray(np.random.default_rng(0).random((3, 2**18), dtype=np.float32))
    path = raw(tmp_path / "t.npz", vectors=vectors)
    if saved:
        table = FeatureTable(np.array(TOKENS), vectors, FeatureTable.load(path).provenance)
        table.save(path)
    found = FeatureTable.load(path)
    assert isinstance(found.vectors, np.memmap)
    assert np.array_equal(found.vectors, vectors)


def test_the_content_hash_tells_any_change_of_content_and_no_other(table: FeatureTable) -> None:
    own = table.content_sha256()
    other_words = {**table.provenance, "encoder": "another"}
    wide = table.tokens.astype("<U40").byteswap().view(">U40")
    for same in (
        FeatureTable(table.tokens, table.vectors, other_words),
        FeatureTable(table.tokens, np.asfortranarray(table.vectors), table.provenance),
        FeatureTable(table.tokens, table.vectors.astype(">f4"), table.provenance),
        FeatureTable(wide, table.vectors, table.provenance),
    ):
        assert same.content_sha256() == own
    profiles = make_table("user_profile", TOKENS, 4, lengths=[1, 2, 3])
    changed = [
        FeatureTable(table.tokens[::-1], table.vectors, table.provenance),
        FeatureTable(table.tokens, np.nextafter(table.vectors, 9), table.provenance),
        FeatureTable(table.tokens, table.vectors.astype(np.float64), table.provenance),
        profiles,
        make_table("user_profile", TOKENS, 4, lengths=[1, 2, 4]),
    ]
    assert len({own, *(each.content_sha256() for each in changed)}) == 6


NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6
)
FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)


@few
@given(tokens=st.lists(NAMES, min_size=1, max_size=6, unique=True), data=st.data())
def test_any_table_comes_back_whole_and_aligned(
    tmp_path: Path, tokens: list[str], data: st.DataObject
) -> None:
    size = (len(tokens), data.draw(st.integers(1, 4)))
    flat = data.draw(st.lists(FLOATS, min_size=size[0] * size[1], max_size=size[0] * size[1]))
    vectors = np.array(flat, dtype=np.float32).reshape(size)
    sound = make_table("item_text", ["x"]).provenance
    table = FeatureTable(np.array(tokens), vectors, {**sound, "encoder": tokens[0]})
    table.save(tmp_path / "t.npz")
    back = FeatureTable.load(tmp_path / "t.npz")
    assert back.tokens.tolist() == tokens and np.array_equal(back.vectors, vectors)
    assert back.provenance == table.provenance
    assert back.content_sha256() == table.content_sha256()
    order = data.draw(st.permutations(tokens))
    aligned, present = back.align(["[PAD]", *order])
    assert present.tolist() == [False] + [True] * len(tokens)
    for row, token in enumerate(order, start=1):
        assert np.array_equal(aligned[row], vectors[tokens.index(token)])
