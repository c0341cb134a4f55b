"""Vectors that other tools made: an .npz of `token` and `vector`, or a CSV or TSV of numbers.

A table of numbers names its columns in the first line; the first one holds the ids.
"""

import csv
from pathlib import Path

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.archives import read_arrays

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_vectors(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens [R] and vectors [R, W], float16 where they are stored so, else float32.

    Raises `InputError` for another kind of file, or one that holds something else.
    """
    file = Path(path)
    if file.suffix.lower() not in DELIMITERS:
        return of_archive(path)
    try:
        return _of_table(file)
    except (ValueError, OSError, csv.Error) as error:  # and Unicode's
        raise InputError(
            f"vectors file {file.name!r}",
            "must have a line of column names, then an id and numbers in each line, in UTF-8",
            error, "Correct the file.",
        ) from error  # fmt: skip


def of_archive(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an .npz of `token` and `vector`; nothing is unpickled."""
    arrays = read_arrays(path, ("token", "vector"))
    tokens, vectors = arrays["token"], arrays["vector"]
    if tokens.ndim != 1 or vectors.ndim != 2 or vectors.dtype.kind not in "iuf":
        raise InputError(
            path, "must hold tokens [R] and vectors [R, W] of numbers",
            f"tokens {tokens.shape}, vectors {vectors.shape} {vectors.dtype}", "Correct the file.",
        )  # fmt: skip
    if tokens.dtype.kind == "S":  # as bytes they would become "b'17'"
        tokens = np.char.decode(tokens, "utf-8", "replace")
    return tokens.astype(str), _narrow(vectors)


def _of_table(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=DELIMITERS[file.suffix.lower()], strict=True)
        columns = next(reader, [])
        tokens, rows = [], []
        for cells in filter(None, reader):
            if len(cells) != len(columns):
                raise ValueError(
                    f"{len(cells)} cells in line {reader.line_num}, and {len(columns)} columns"
                )
            try:
                rows.append(np.array(cells[1:], dtype=np.float64))
            except ValueError as error:
                raise ValueError(f"line {reader.line_num}: {error}") from error
            tokens.append(cells[0])
    if not rows or len(columns) < 2:
        raise ValueError(f"{len(rows)} rows of {len(columns)} columns")
    return np.array(tokens), _narrow(np.stack(rows))


def _narrow(vectors: np.ndarray) -> np.ndarray:
    """Keep half precision, and bring anything else to single; what overflows is told later."""
    with np.errstate(over="ignore"):
        return vectors if vectors.dtype == np.float16 else vectors.astype(np.float32)
