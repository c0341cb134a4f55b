"""Reads arrays from an untrusted .npz: headers are checked before anything is unpacked.

`numpy.load` trusts the file: it allocates whatever a header claims, be it a trillion rows, and a
member of a few kilobytes may unpack to gigabytes.

Arrays stored without compression are mapped, not read: what is not asked for takes no memory.
"""

import math
import os
import struct
import zipfile
from collections.abc import Sequence
from typing import IO, Literal

import numpy as np
import psutil

from ur4rec_recbole.core.errors import InputError, first_line

PIECE = 2**20  # bytes read at a time; smaller arrays are not worth a map


def read_arrays(
    path: str | os.PathLike[str], needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read only the named arrays of an .npz, never unpickling.

    Parameters
    ----------
    path
        A regular file: reading a pipe could block for ever.
    needed, optional
        Names of arrays. The first needed one has a row for each row of the others; an array
        without dimensions has none.

    Raises
    ------
    InputError
        If this is not an .npz file, an array is missing, or contents and headers differ.
    """
    name = str(path)
    if not os.path.isfile(path):
        received = "a folder or a pipe" if os.path.exists(path) else "no such file"
        raise InputError(name, "must be a feature table file", received, "Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {entry.filename: entry for entry in archive.infolist()}
            members = [*needed, *(key for key in optional if f"{key}.npy" in there)]
            entries = {key: there[f"{key}.npy"] for key in members}
            arrays = _unpacked(archive, entries)
        rows = {len(array) for array in arrays.values() if array.ndim}
        if len(rows) > 1:
            raise ValueError(f"arrays of {sorted(rows)} rows")
        return arrays
    except Exception as error:  # a damaged file makes zipfile, zlib and numpy raise nearly anything
        raise InputError(
            name, f"must be an .npz of {', '.join(needed)} without pickled objects",
            first_line(error), "Make it again with `ur4rec extract`.",
        ) from error  # fmt: skip


def read_all(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz, never unpickling; `ValueError` where one cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            return _unpacked(archive, entries)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:300]) from error


def _unpacked(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]
) -> dict[str, np.ndarray]:
    _check_headers(archive, entries)
    return {key: _read(archive, entry) for key, entry in entries.items()}


def _check_headers(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
    """Raise `ValueError` where sizes do not fit one another or this machine."""
    sizes = 0
    for key, entry in entries.items():
        with archive.open(entry) as member:
            shape, _, dtype = _header(member)
            size = member.tell() + math.prod(shape) * dtype.itemsize
        if size != entry.file_size:
            raise ValueError(f"{key} says {shape} {dtype}, {size} bytes, in {entry.file_size}")
        sizes += 0 if _mapped(entry) else size
    free = psutil.virtual_memory().available
    if sizes > free:
        raise ValueError(f"{sizes / 1e6:.0f} MB unpacked, with {free / 1e6:.0f} MB of memory left")


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype]:
    """Return an array's shape, the order that its numbers are written in, and their type."""
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"an array of version {version}")
    shape, by_columns, dtype = read(member)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    return shape, "F" if by_columns else "C", dtype


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as member:
        if not _mapped(entry):
            return np.lib.format.read_array(member, allow_pickle=False)
        shape, order, dtype = _header(member)
        start = member.tell()
        while member.read(PIECE):  # to the end, where the archive's checksum is compared
            pass
    with open(str(archive.filename), "rb") as file:
        file.seek(entry.header_offset)
        name, extra = struct.unpack("<26x2H", file.read(30))  # PKZIP's local header
    start += entry.header_offset + 30 + name + extra
    return np.memmap(str(archive.filename), dtype, "r", start, shape, order)


def _mapped(entry: zipfile.ZipInfo) -> bool:
    return entry.compress_type == zipfile.ZIP_STORED and entry.file_size >= PIECE
