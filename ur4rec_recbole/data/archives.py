"""Reads arrays from an untrusted .npz: headers are checked before anything is unpacked.

`numpy.load` trusts the file: it allocates whatever a header claims, be it a trillion rows, and a
member of a few kilobytes may unpack to gigabytes.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import psutil

from ur4rec_recbole.core.errors import InputError, first_line

# What numpy, zipfile and json raise for a damaged, foreign or pickled file.
UNREADABLE = (
    OSError, ValueError, TypeError, AttributeError, KeyError, EOFError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


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
    if not Path(path).is_file():
        received = "a folder or a pipe" if Path(path).exists() else "no such file"
        raise InputError(name, "must be a feature table file", received, "Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {entry.filename: entry for entry in archive.infolist()}
            members = [*needed, *(key for key in optional if f"{key}.npy" in there)]
            entries = {key: there[f"{key}.npy"] for key in members}
            _check_headers(archive, entries)
            return {key: _read(archive, entry) for key, entry in entries.items()}
    except Exception as error:  # a damaged file makes zipfile, zlib and numpy raise nearly anything
        raise InputError(
            name, f"must be an .npz of {', '.join(needed)} without pickled objects",
            first_line(error), "Make it again with `ur4rec extract`.",
        ) from error  # fmt: skip


def _check_headers(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
    """Raise `ValueError` where sizes do not fit one another or this machine."""
    sizes, rows = 0, set()
    for key, entry in entries.items():
        with archive.open(entry) as member:
            shape, dtype = _header(member)
            size = member.tell() + math.prod(shape) * dtype.itemsize
        if size != entry.file_size:
            raise ValueError(f"{key} says {shape} {dtype}, {size} bytes, in {entry.file_size}")
        sizes += size
        rows |= {shape[:1]} - {()}
    free = psutil.virtual_memory().available
    if sizes > free:
        raise ValueError(f"{sizes / 1e6:.0f} MB unpacked, with {free / 1e6:.0f} MB of memory left")
    if len(rows) > 1:
        raise ValueError(f"arrays of {sorted(row for (row,) in rows)} rows")


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"an array of version {version}")
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    return shape, dtype


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
