"""Writes what a table became: NAME.inter, NAME.item, NAME.yaml and NAME.texts.json."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ur4rec_recbole.core.files import atomic_write

TYPES = {
    "user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float",
    "title": "token", "categories": "token_seq", "image": "token",
}  # fmt: skip


def write_data_set(
    folder: Path, interactions: pd.DataFrame, items: pd.DataFrame, texts: Mapping[str, str]
) -> None:
    """Write the files of a data set, each atomically.

    Parameters
    ----------
    folder
        Made where needed; its name is the data set's.
    interactions, items, texts
        As in `ShopData`.
    """
    name = folder.name
    write_columns(interactions, folder / f"{name}.inter")
    if len(items):
        write_columns(items, folder / f"{name}.item")
    else:  # one of before is of other interactions
        (folder / f"{name}.item").unlink(missing_ok=True)
    for suffix, text in (
        ("texts.json", json.dumps(texts, ensure_ascii=False, indent=0)),
        ("yaml", _configuration(interactions, items)),
    ):
        with atomic_write(folder / f"{name}.{suffix}") as file:
            file.write(text.encode())


def write_columns(frame: pd.DataFrame, path: Path) -> None:
    """Write an atomic file, its cells as they are, unquoted.

    Columns are those of `TYPES`: texts, or float64, which `repr` writes exactly.
    """
    header = "\t".join(f"{name}:{TYPES[name]}" for name in frame.columns)
    cells = [frame[name].map(_number if TYPES[name] == "float" else str) for name in frame.columns]
    with atomic_write(path) as file:
        file.write(f"{header}\n".encode())
        file.writelines(("\t".join(row) + "\n").encode() for row in zip(*cells, strict=True))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _configuration(interactions: pd.DataFrame, items: pd.DataFrame) -> str:
    """Return the YAML file; it names all columns of the interactions and the items' ids."""
    lines = [
        "# Made by `ur4rec convert table`.",
        "load_col:",
        f"    inter: [{', '.join(interactions.columns)}]",
    ]
    if set(items.get("item_id", ())) - set(interactions.item_id):
        lines.append("    item: [item_id]             # with items that nobody has had yet")
    lines += ["USER_ID_FIELD: user_id", "ITEM_ID_FIELD: item_id", "TIME_FIELD: timestamp"]
    if "rating" in interactions:
        lines.append("RATING_FIELD: rating")
    return "\n".join(lines) + "\n"
