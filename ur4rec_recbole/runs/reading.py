"""Reads a run's files; a damaged one, or one of another shape, is an `InputError`.

A run folder may come from somebody else, or from a disk that was full.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import parse_json
from ur4rec_recbole.core.shapes import ANYTHING, NUMBER, Maybe, Values, check
from ur4rec_recbole.data.archives import read_all

REMEDY = "Restore the file, or make the run again."
ROUTES = {"modal": Values(NUMBER), "sub": Values([NUMBER])}
SHAPES: dict[str, Any] = {
    "run.json": {
        "model": str,
        "dataset": str,
        "seed": Maybe(NUMBER),
        "status": str,
        "config": Values({"value": ANYTHING, "origin": str}),
        "versions": Values(str),
        "machine": Values(ANYTHING),
        "data_fingerprint": Maybe(str),
        "inputs": Maybe(Values(str)),
    },
    "metrics.json": {
        "valid": Maybe(Values(Values(NUMBER))),
        "test": Maybe(Values(Values(NUMBER))),
        "seconds": Maybe(NUMBER),
        "wall_seconds": Maybe(NUMBER),
        "peak_memory": Maybe(NUMBER),
    },
    "stages.json": [
        {
            "stage": str,
            "epochs": int,
            "score": NUMBER,
            "sampled_hit10": Maybe(NUMBER),
            "milestone": Maybe(NUMBER),
            "scores": Maybe(Values(NUMBER)),
            "modalities": Maybe(
                Values(dict.fromkeys(("hit", "hit_shuffled", "movement"), Maybe(NUMBER)))
            ),
        }
    ],
    "routing.json": {
        "epochs": [{"epoch": int, **ROUTES}],
        "groups": Values({"rows": int, **ROUTES}),
    },
    "members.json": [{"member": str, "seconds": Maybe(NUMBER)}],
}
FINDING = {"name": str}


def read_json(folder: Path, name: str) -> Any:
    """Read one of the .json files; None where there is none."""
    path = folder / name
    text = _text(path)
    if text is None:
        return None
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(str(path), "must be JSON", error, REMEDY) from error
    if name == "stages.json" and isinstance(value, list):
        value = [_renamed(each) for each in value]
    value = check(value, SHAPES.get(name, ANYTHING), path, REMEDY)
    if name == "routing.json" and _counts_from_zero(_rows(folder / "epochs.csv")):
        value["epochs"] = [row | {"epoch": row["epoch"] + 1} for row in value["epochs"]]
    if name == "metrics.json":  # null is as good as nothing
        value = {key: each for key, each in value.items() if each is not None}
    return value


def _renamed(stage: Any) -> Any:
    """Rename the keys of a stage that an older version wrote."""
    if isinstance(stage, dict) and "hit_of_100" in stage:
        stage.setdefault("sampled_hit10", stage.pop("hit_of_100"))
    return stage


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """Read epochs.csv: numbers as numbers, empty cells left out, a half last line dropped.

    Epochs count from 1; those of older versions, which counted from 0, are raised by 1.
    """
    path = folder / "epochs.csv"
    rows = _rows(path)
    found = [_epoch(row, path) for row in rows]
    if _counts_from_zero(rows):
        found = [row | {"epoch": row["epoch"] + 1} for row in found]
    return found


def _rows(path: Path) -> list[dict[Any, Any]]:
    try:
        return list(csv.DictReader(io.StringIO("".join(_whole_lines(path))), strict=True))
    except csv.Error as error:
        raise InputError(str(path), "must hold comma-separated values", error, REMEDY) from error


def _counts_from_zero(rows: list[dict[Any, Any]]) -> bool:
    return bool(rows) and rows[0].get("epoch") == "0"


def _epoch(row: dict[Any, Any], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in row.items():
        if key is None:
            raise InputError(str(path), "must have a name for every column", row, REMEDY)
        if text not in ("", None):
            found[key] = text if key == "stage" else _number(text)
    # What RecBole's models do not have is missing; the rest are numbers.
    shape = dict.fromkeys(found, NUMBER) | {"epoch": int, "stage": str, "stage_epoch": int}
    return check(found, shape, path, REMEDY)


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """Read findings.jsonl, a half last line dropped."""
    path = folder / "findings.jsonl"
    try:
        rows = [parse_json(line) for line in _whole_lines(path)]
    except ValueError as error:
        raise InputError(str(path), "must be JSON, an object a line", error, REMEDY) from error
    return check(rows, [FINDING], path, REMEDY)


def read_ranks(folder: Path) -> dict[str, np.ndarray]:
    """Read ranks.npz; empty where there is none."""
    path = folder / "ranks.npz"
    if not path.exists():
        return {}
    try:
        arrays = read_all(path)
    except ValueError as error:
        raise InputError(str(path), "must be an .npz file of arrays", error, REMEDY) from error
    for name, array in arrays.items():
        _check_ranks(path, name, array, arrays.get(f"{name.partition('/')[0]}/users"))
    return arrays


def _check_ranks(path: Path, name: str, array: np.ndarray, users: np.ndarray | None) -> None:
    """Raise `InputError` unless an array has a token, or a rank from 1 on, for each target [R]."""
    sound = users is not None and users.ndim == 1 and array.shape == users.shape
    if array is users:
        sound = sound and array.dtype.kind == "U"
    else:
        sound = sound and array.dtype.kind in "iu" and bool((array >= 1).all())
    if not sound:
        raise InputError(
            f"{path}: {name}", "must have a user, or a rank from 1 on, for each target",
            f"{array.dtype} of the shape {array.shape}", REMEDY,
        )  # fmt: skip


def _whole_lines(path: Path) -> list[str]:
    text = _text(path) or ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _text(path: Path) -> str | None:
    """Read a text file; None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(str(path), "must be a readable file in UTF-8", error, REMEDY) from error


def _number(text: str) -> Any:
    kinds: tuple[Callable[[str], Any], ...] = (int, float)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    return text
