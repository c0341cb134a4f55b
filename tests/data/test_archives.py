"""Arrays of a foreign .npz are looked at before they are unpacked."""

import io
import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.archives import PIECE, read_all, read_arrays

NAMES = ("tokens", "vectors")


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """Return an .npy, which may say another shape than it has."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header | ({"shape": shape} if shape else {}))
    return file.getvalue() + array.tobytes()


def archive(path: Path, **members: bytes) -> Path:
    whole = {"tokens": npy(np.array(["a", "b"])), "vectors": npy(np.ones((2, 3)))} | members
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in whole.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_wanted_arrays_are_read_and_others_are_not(tmp_path: Path) -> None:
    path = archive(tmp_path / "t.npz", other=b"no array", more=npy(np.arange(2)))
    found = read_arrays(path, NAMES, ("more", "less"))
    assert list(found) == ["tokens", "vectors", "more"]
    assert found["tokens"].tolist() == ["a", "b"] and found["vectors"].shape == (2, 3)


@pytest.mark.parametrize("shape", [(10**12, 10), (2, 4), (2, 2), (6,), (2**62, 8), (0, 3)])
def test_a_header_that_says_what_there_is_not_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = archive(tmp_path / "t.npz", vectors=npy(np.ones((2, 3)), shape))
    with pytest.raises(InputError, match="t.npz.*vectors"):
        read_arrays(path, NAMES)


def test_arrays_of_different_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\[2, 3\] rows"):
        read_arrays(archive(tmp_path / "t.npz", vectors=npy(np.ones((3, 3)))), NAMES)


def test_an_archive_of_any_arrays_is_read_whole_and_as_carefully(tmp_path: Path) -> None:
    path = archive(tmp_path / "t.npz", more=npy(np.arange(5)))
    assert {key: len(each) for key, each in read_all(path).items()} == {
        "tokens": 2, "vectors": 2, "more": 5
    }  # fmt: skip
    archive(path, more=npy(np.arange(5), (10**12,)))
    with pytest.raises(ValueError, match="more says"):
        read_all(path)
    with pytest.raises(ValueError, match="FileNotFoundError"):
        read_all(tmp_path / "none.npz")


def test_more_than_the_memory_holds_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "t.npz", vectors=npy(np.zeros((2, 10_000_000), dtype=np.int8)))
    assert path.stat().st_size < 50_000
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 10**7}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="20 MB unpacked, with 10 MB"):
        read_arrays(path, NAMES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 15_000  # KB


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path, tmp_path / "nowhere.npz"):
        with pytest.raises(InputError, match="must be a feature table file"):
            read_arrays(path, NAMES)


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "t.npz").read_bytes()
    for end in range(0, len(whole), 7):
        (tmp_path / "t.npz").write_bytes(whole[:end])
        with pytest.raises(InputError, match="t.npz"):
            read_arrays(tmp_path / "t.npz", NAMES)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "t.npz")
    content = bytearray(path.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):  # the flag of encryption, in both headers
        content[content.index(start) + (6 if start[2] == 3 else 8)] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="encrypted"):
        read_arrays(path, NAMES)


def stored(path: Path, array: np.ndarray) -> Path:
    """Write an archive without compression."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("tokens.npy", npy(np.arange(len(array))))
        file.writestr("vectors.npy", npy(array))
    return path


def test_a_large_array_that_is_stored_plainly_is_mapped(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((PIECE // 64, 16))
    found = read_arrays(stored(tmp_path / "t.npz", rows), NAMES)
    assert isinstance(found["vectors"], np.memmap) and not found["vectors"].flags.writeable
    assert not isinstance(found["tokens"], np.memmap)  # too small for one
    assert np.array_equal(found["vectors"], rows)


@pytest.mark.parametrize("place", [0.5, 0.99])
def test_a_mapped_array_that_was_damaged_is_refused(tmp_path: Path, place: float) -> None:
    path = stored(tmp_path / "t.npz", np.ones((PIECE // 64, 16)))
    content = bytearray(path.read_bytes())
    content[int(place * PIECE)] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        read_arrays(path, NAMES)


def test_a_mapped_array_lies_within_its_file(tmp_path: Path) -> None:
    path = stored(tmp_path / "t.npz", np.ones((PIECE // 64, 16)))
    path.write_bytes(path.read_bytes().replace(b"16384", b"99384"))  # rows of the header
    with pytest.raises(InputError, match="t.npz"):
        read_arrays(path, NAMES)
