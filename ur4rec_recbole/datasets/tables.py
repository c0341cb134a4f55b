"""`ur4rec convert table`: any table of interactions, and one of items, to RecBole's atomic files.

ur4rec convert table --interactions orders.csv --items products.csv --output dataset/shop

Writes NAME.inter (sorted by user and time, which keeps the order exact through RecBole's float32),
NAME.item, NAME.yaml (for --config-files) and NAME.texts.json (for `ur4rec extract text`). Whatever
is guessed, changed or left out is told in notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.columns import read_numbers
from ur4rec_recbole.datasets.table_columns import (
    find_column,
    names_of,
    read_times,
    spaced,
    tokens,
    words_of,
    written,
)
from ur4rec_recbole.datasets.table_files import as_pandas
from ur4rec_recbole.datasets.table_output import write_data_set

REPEATS = ("keep", "first", "last")


@dataclass(frozen=True)
class Columns:
    """Names of columns; None lets a name be guessed.

    Attributes
    ----------
    user, item, time, rating
        Of the interactions.
    items_item, title, categories, image, text
        Of the items; several `text` columns are joined.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    rating: str | None = None
    items_item: str | None = None
    title: str | None = None
    categories: str | None = None
    image: str | None = None
    text: Sequence[str] = ()


@dataclass(frozen=True)
class Rules:
    """What is kept.

    Attributes
    ----------
    time_format
        Of times that are neither numbers nor ISO dates, as strptime takes it.
    file_order
        Whether rows are in the order of time, and no column is.
    repeats
        Which interactions of a user with the same item are kept: "keep" (all), "first" or "last".
    k_core
        Interactions that each user and each item has at least.
    all_items
        Whether items without interactions stay, to be recommended from their content.
    """

    time_format: str | None = None
    file_order: bool = False
    repeats: str = "keep"
    k_core: int = 0
    all_items: bool = False


@dataclass
class ShopData:
    """A data set made from tables.

    Attributes
    ----------
    interactions
        Columns user_id, item_id, timestamp (float64 seconds) and, where there is one, rating.
    items
        Columns item_id and whichever of title, categories (separated by spaces) and image there is.
    texts
        By item id.
    notes
        What was guessed, changed or left out, one line each.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    texts: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the files of a data set, each atomically; the folder's name is the data set's."""
        write_data_set(folder, self.interactions, self.items, self.texts)


def from_dataframe(
    interactions: Any,
    items: Any = None,
    columns: Columns | None = None,
    rules: Rules | None = None,
) -> ShopData:
    """Make a data set from tables.

    Parameters
    ----------
    interactions, items
        pandas or polars tables, or mappings of columns; `items` may be None.
    columns, rules
        Names of columns, guessed unless given; what is kept.

    Raises
    ------
    InputError
        For a column that cannot be told, an id that no file can hold, a time that cannot be read.
    """
    columns, rules = columns or Columns(), rules or Rules()
    if rules.repeats not in REPEATS or rules.k_core < 0:
        raise InputError(
            "repeats and k_core", f"must be one of {REPEATS} and a number of interactions",
            f"{rules.repeats!r}, {rules.k_core}", "Correct them.",
        )  # fmt: skip
    _refuse_unused(columns, rules, items is not None)
    notes: list[str] = []
    rows = _interactions(as_pandas(interactions), columns, rules, notes)
    rows = _without_repeats(rows, rules, notes)
    rows = _k_core(rows, rules.k_core, notes)
    if not len(rows):
        raise InputError(
            "the interactions", "must leave some after filtering", "none",
            "; ".join(notes) + ". Lower --k-core, or check the columns.",
        )  # fmt: skip
    rows = rows.sort_values(["user_id", "timestamp"], kind="stable", ignore_index=True)
    if items is None:
        return ShopData(rows, pd.DataFrame(), {}, notes)
    listed, texts = _items(as_pandas(items), columns, notes)
    listed = _matching(listed, rows, rules, notes)
    kept = set(listed.item_id)
    return ShopData(rows, listed, {key: each for key, each in texts.items() if key in kept}, notes)


def _refuse_unused(columns: Columns, rules: Rules, has_items: bool) -> None:
    """Raise `InputError` for what is asked of a table of items, or of times, that are not there."""
    names = ("items_item", "title", "categories", "image", "text")
    of_items = {name: getattr(columns, name) for name in names} | {"all_items": rules.all_items}
    of_times = {"time": columns.time, "time_format": rules.time_format}
    for asked, there, rule, remedy in (
        (of_items, has_items, "must come with a table of items", "Name it by --items."),
        (of_times, not rules.file_order, "must not come with --file-order", "Choose one of them."),
    ):
        given = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value]
        if given and not there:
            raise InputError(
                ", ".join(given), rule, "no such table" if asked is of_items else "both", remedy
            )


def _interactions(
    frame: pd.DataFrame, columns: Columns, rules: Rules, notes: list[str]
) -> pd.DataFrame:
    """Return user_id, item_id, timestamp and rating of the rows that have all that is needed."""
    chosen = {
        role: _column(frame, role, getattr(columns, role), "interactions", needed, notes)
        for role, needed in (("user", True), ("item", True), ("rating", False))
    }
    found = {f"{role}_id": _ids(frame[chosen[role]], role, notes) for role in ("user", "item")}
    if rules.file_order:
        found["timestamp"] = pd.Series(np.arange(len(frame), dtype=np.float64), frame.index)
        notes.append("times: the order of the rows")
    else:
        name = _column(frame, "time", columns.time, "interactions", True, notes)
        seconds, form = read_times(frame[name], "interactions", rules.time_format)
        found["timestamp"] = pd.Series(seconds, frame.index)
        notes.append(f"times: read as {form}")
    if chosen["rating"] is not None:
        ratings = read_numbers(
            written(frame[chosen["rating"]], words_of, "interactions"), "interactions"
        )
        if columns.rating is not None or ratings.notna().all():
            found["rating"] = ratings
        else:
            notes.append(f"{int(ratings.isna().sum())} rows without rating: column left out")
    rows = pd.DataFrame(found)
    for name in rows:
        missing = (rows[name] == "") if name.endswith("_id") else rows[name].isna()
        if missing.any():
            notes.append(f"{int(missing.sum())} rows without {name}: left out")
            rows = rows[~missing]
    return rows


def _ids(column: pd.Series, role: str, notes: list[str]) -> pd.Series:
    """Return a column of ids as tokens; notes say where spaces are left out."""
    count = spaced(column)
    if count:
        notes.append(f"{count} {role} ids with spaces around them: taken without")
    return tokens(column, role)


def _without_repeats(rows: pd.DataFrame, rules: Rules, notes: list[str]) -> pd.DataFrame:
    if not rules.file_order:
        distinct = rows.drop_duplicates(["user_id", "item_id", "timestamp"])
        if len(distinct) < len(rows):
            notes.append(
                f"{len(rows) - len(distinct)} rows with the user, item and time of another: "
                "left out"
            )
        rows = distinct
    repeated = int(rows.duplicated(["user_id", "item_id"]).sum())
    if not repeated:
        return rows
    notes.append(f"{repeated} repeats of an item by the same user: {rules.repeats}")
    if rules.repeats == "keep":
        return rows
    ordered = rows.sort_values("timestamp", kind="stable")
    return ordered.drop_duplicates(["user_id", "item_id"], keep=rules.repeats).sort_index()


def _k_core(rows: pd.DataFrame, k: int, notes: list[str]) -> pd.DataFrame:
    """Drop users and items of fewer than k interactions until none is left."""
    before = rows
    while k > 1:
        enough = pd.Series(True, rows.index)
        for name in ("user_id", "item_id"):
            enough &= rows[name].map(rows[name].value_counts()) >= k
        if enough.all():
            break
        rows = rows[enough]
    if len(rows) < len(before):
        users, items = (before[n].nunique() - rows[n].nunique() for n in ("user_id", "item_id"))
        notes.append(
            f"{k}-core: {len(before) - len(rows)} interactions of {users} users and {items} items "
            "left out"
        )
    return rows


def _items(
    frame: pd.DataFrame, columns: Columns, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the item table and the texts by item id."""
    given = columns.items_item or (columns.item if columns.item in frame.columns else None)
    name = _column(frame, "item", given, "items", True, notes)
    found = {"item_id": _ids(frame[name], "item", notes)}
    for role, write in (
        ("title", words_of),
        ("categories", lambda cell: " ".join(n.replace(" ", "_") for n in names_of(cell))),
        ("image", words_of),
    ):
        column = _column(frame, role, getattr(columns, role), "items", False, notes)
        if column is not None:
            found[role] = written(frame[column], write, "items")
    wanted: Sequence[str | None] = columns.text or [None]
    texts = [_column(frame, "text", each, "items", False, notes) for each in wanted]
    named = [column for column in texts if column is not None]
    parts = [written(frame[column], words_of, "items") for column in named]
    items = pd.DataFrame(found)
    sound = (items.item_id != "") & ~items.item_id.duplicated()
    if not sound.all():
        notes.append(
            f"{int((~sound).sum())} rows of items without an id, or with that of another: left out"
        )
    items = items[sound]
    if not parts:
        return items, {}
    rows = zip(*(part[sound] for part in parts), strict=True)
    joined = [". ".join(cells).strip(". ") for cells in rows]
    return items, {key: text for key, text in zip(items.item_id, joined, strict=True) if text}


def _matching(
    items: pd.DataFrame, rows: pd.DataFrame, rules: Rules, notes: list[str]
) -> pd.DataFrame:
    """Say which items only one of the two tables has; leave out what nobody has had.

    Where the item file decides which items there are, it has those of the interactions, too.
    """
    sold = pd.unique(rows.item_id)
    unknown = pd.Series(sold)[~pd.Series(sold).isin(items.item_id)]
    if len(unknown):
        notes.append(f"{len(unknown)} items of the interactions are not in the items table: kept")
    unsold = ~items.item_id.isin(sold)
    if unsold.any():
        kept = "kept, to be recommended from their content" if rules.all_items else "left out"
        notes.append(f"{int(unsold.sum())} items without interactions: {kept}")
    if not rules.all_items:
        return items[~unsold].reset_index(drop=True)
    return pd.concat([items, pd.DataFrame({"item_id": unknown})], ignore_index=True).fillna("")


def _column(
    frame: pd.DataFrame, role: str, given: str | None, table: str, needed: bool, notes: list[str]
) -> Any:
    name, how = find_column(frame, role, given, table, needed)
    if name is not None:
        notes.append(f"{role} of the {table}: column {name!r}, {how}")
    return name
