"""`ur4rec convert`: MovieLens and Amazon reviews to RecBole's atomic files, plus item texts.

ur4rec convert movielens ml-1m/ --output dataset/ml-1m
ur4rec convert amazon --reviews Beauty_5.json.gz --meta meta_Beauty.json.gz --output dataset/beauty

Writes NAME.inter, NAME.item, NAME.yaml (for --config-files) and NAME.texts.json (for extract text).
Interactions are sorted by user and time, which keeps their order exact through RecBole's float32.
"""

import ast
import gzip
import html
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.items import Item
from ur4rec_recbole.datasets.table_columns import UNWRITABLE, words_of
from ur4rec_recbole.datasets.table_files import read_table

YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
TEXT_LENGTH = 1000  # characters; sentence encoders read fewer
CONFIG = """# Made by `ur4rec convert`.
load_col:                       # (dict) Fields to be loaded by atomic file.
    inter: [user_id, item_id, rating, timestamp]
USER_ID_FIELD: user_id          # (str) Field name of user ids.
ITEM_ID_FIELD: item_id          # (str) Field name of item ids.
RATING_FIELD: rating            # (str) Field name of ratings.
TIME_FIELD: timestamp           # (str) Field name of timestamps, in seconds.
"""


class Converted(NamedTuple):
    """A converted data set, before it is written.

    Attributes
    ----------
    interactions
        Columns user_id, item_id, rating, timestamp (seconds).
    items
        Columns item_id, title, year, genres (separated by spaces).
    texts
        By item id.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    texts: dict[str, str]


def movielens(folder: Path) -> Converted:
    """Read an unpacked MovieLens folder of either layout."""
    old = (folder / "ratings.dat").is_file()
    suffix = "dat" if old else "csv"
    ratings, movies = folder / f"ratings.{suffix}", folder / f"movies.{suffix}"
    for file in (ratings, movies):
        if not file.is_file():
            raise InputError(
                f"MovieLens folder {folder.name!r}",
                "must hold ratings.dat and movies.dat (1M), or ratings.csv and movies.csv",
                f"no {file.name}", "Unpack the archive and name its folder.",
            )  # fmt: skip
    columns = ["user_id", "item_id", "rating", "timestamp"]
    interactions = _table(ratings, columns, old)
    films = _table(movies, ["item_id", "title", "genres"], old)
    for column, dtype in (("rating", float), ("timestamp", int)):
        interactions[column] = _numbers(interactions[column], dtype, ratings.name)
    items = pd.DataFrame(
        {
            "item_id": films.item_id,
            "title": films.title.str.replace(YEAR, "", regex=True).map(_clean),
            "year": films.title.str.extract(YEAR, expand=False).fillna(""),
            "genres": films.genres.map(_movielens_genres),
        }
    )
    texts = {}
    for row in items.itertuples():
        film = Item(row.title, int(row.year) if row.year else None, _names(row.genres))
        texts[row.item_id] = film.sentence
    return Converted(interactions, items, texts)


def amazon(reviews: Path, meta: Path | None) -> Converted:
    """Read reviews and metadata of the 2014, 2018 or 2023 release."""
    rows = [_review(record, reviews.name, line) for line, record in _records(reviews)]
    if not rows:
        raise InputError(
            f"reviews {reviews.name!r}", "must hold at least one", "none", "Check the file."
        )
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    known = set(interactions.item_id)
    found: dict[str, tuple[str, str, str]] = {}
    texts: dict[str, str] = {}
    for line, record in _records(meta) if meta else ():
        token = str(record.get("parent_asin") or record.get("asin") or "")
        if token in known and token not in found:
            try:
                title = _clean(words_of(record.get("title")))
                found[token] = (title, "", _amazon_categories(record))
                texts[token] = _amazon_text(title, record)
            except (TypeError, RecursionError) as error:
                raise InputError(
                    f"metadata of line {line}", "must be texts, numbers or lists of them", error,
                    "Use the file as it is published.",
                ) from error  # fmt: skip
    items = pd.DataFrame(
        [(token, *found.get(token, ("", "", ""))) for token in sorted(known)],
        columns=["item_id", "title", "year", "genres"],
    )
    return Converted(interactions, items, {token: text for token, text in texts.items() if text})


def write(converted: Converted, folder: Path) -> None:
    """Write the atomic files, the configuration and the texts, each atomically."""
    name = folder.name
    rows = converted.interactions.sort_values(["user_id", "timestamp"], kind="stable")
    for ids in (rows.user_id, rows.item_id):
        _check_ids(ids)
    used = set(rows.item_id)
    items = converted.items[converted.items.item_id.isin(used)]
    _write_table(rows, folder / f"{name}.inter", ("token", "token", "float", "float"))
    kinds = ("token", "token_seq", "token", "token_seq")
    _write_table(items, folder / f"{name}.item", kinds)
    texts = {token: text for token, text in converted.texts.items() if token in used}
    with atomic_write(folder / f"{name}.texts.json") as file:
        file.write(json.dumps(texts, ensure_ascii=False, indent=0).encode())
    with atomic_write(folder / f"{name}.yaml") as file:
        file.write(CONFIG.encode())


def _write_table(frame: pd.DataFrame, path: Path, kinds: tuple[str, ...]) -> None:
    header = "\t".join(
        f"{column}:{kind}" for column, kind in zip(frame.columns, kinds, strict=True)
    )
    with atomic_write(path) as file:
        file.write(f"{header}\n".encode())
        # Unquoted, as the package reads these files. `_clean` and `_check_ids` keep tabs out.
        for row in frame.itertuples(index=False):
            file.write(("\t".join(map(str, row)) + "\n").encode())


def _table(file: Path, columns: list[str], old: bool) -> pd.DataFrame:
    """Read one MovieLens table as text."""
    try:
        if old:  # "::" between columns, no header; Latin-1 in ml-1m, UTF-8 in ml-10m
            content = file.read_bytes()
            try:
                text = content.decode()
            except UnicodeDecodeError:
                text = content.decode("latin-1")
            lines = text.replace("\r\n", "\n").split("\n")
            rows = [line.split("::") for line in lines if line]
            wrong = [place for place, row in enumerate(rows, 1) if len(row) != len(columns)]
            if wrong:
                raise ValueError(f"line {wrong[0]} has {len(rows[wrong[0] - 1])} columns")
            return pd.DataFrame(rows, columns=columns)
        if "rating" in columns:  # millions of rows; that they are whole, their numbers tell
            frame = pd.read_csv(file, dtype=str, na_filter=False, encoding="utf-8")
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("rows with more cells than the first line")
        else:
            frame = read_table(file).frame
        return frame.rename(columns={"userId": "user_id", "movieId": "item_id"})[columns]
    except (ValueError, KeyError) as error:  # UnicodeDecodeError and ParserError included
        raise InputError(
            f"MovieLens file {file.name!r}", f"must have the columns {columns}", error,
            "Use the file as GroupLens publishes it.",
        ) from error  # fmt: skip


def _numbers(values: pd.Series, dtype: type, file: str) -> pd.Series:
    try:
        numbers = values.astype(float)
        if not numbers.map(math.isfinite).all():
            raise ValueError("a number that is not finite")
        return numbers.astype(dtype)
    except ValueError as error:
        raise InputError(
            f"MovieLens file {file!r}: {values.name}", "must be a number in every row", error,
            "Correct the row.",
        ) from error  # fmt: skip


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, record) of a file with one record per line, gzipped or not.

    Metadata of 2014 are Python literals, not JSON; they are read without evaluating anything.
    """
    if not file.is_file():
        raise InputError(f"file {file.name!r}", "must exist", "no such file", "Check the path.")
    opener = gzip.open if file.suffix == ".gz" else open
    line = 0
    try:
        with opener(file, "rt", encoding="utf-8") as lines:
            for line, words in enumerate(lines, 1):
                if words.strip():
                    record = json.loads(words) if words[:2] != "{'" else ast.literal_eval(words)
                    yield line, dict(record)
    except (
        ValueError, SyntaxError, TypeError, OSError, EOFError, RecursionError, MemoryError,
        zlib.error,
    ) as error:  # fmt: skip
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"file {file.name!r}, near line {line + 1}", "must be one JSON object a line", error,
            "Download the file again if it is cut.",
        ) from error  # fmt: skip


def _review(record: Mapping[str, Any], file: str, line: int) -> tuple[str, str, float, int]:
    try:
        if "reviewerID" in record:  # 2014 and 2018
            user, item, rating = record["reviewerID"], record["asin"], float(record["overall"])
            time = int(record["unixReviewTime"])
        else:
            user, item = record["user_id"], record.get("parent_asin") or record["asin"]
            rating = float(record["rating"])
            time = int(record.get("timestamp", record.get("sort_timestamp"))) // 1000
        if not math.isfinite(rating):
            raise ValueError("a rating that is not finite")
        return _id(user), _id(item), rating, time
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"reviews {file!r}, line {line}",
            "must have reviewerID, asin, overall, unixReviewTime (2014, 2018) or user_id, "
            "parent_asin, rating, timestamp (2023)",
            f"{type(error).__name__} {error} in columns {list(record)}",
            "Use the file as it is published.",
        ) from error


def _amazon_categories(record: Mapping[str, Any]) -> str:
    found = record.get("categories") or record.get("category") or []
    if not isinstance(found, list):
        found = [found]
    if all(isinstance(path, list) for path in found):  # 2014: a list of paths
        found = [name for path in found for name in path]
    names = [_clean(words_of(name)).replace(" ", "_") for name in found]
    return " ".join(dict.fromkeys(name for name in names if name and "<" not in name))


def _amazon_text(title: str, record: Mapping[str, Any]) -> str:
    parts = [title, words_of(record.get("features", record.get("feature")))]
    parts.append(words_of(record.get("description")))
    text = _clean(re.sub(r"<[^>]*>", " ", " ".join(part for part in parts if part)))
    return text[:TEXT_LENGTH].strip()


def _movielens_genres(genres: str) -> str:
    names = (_clean(name) for name in genres.split("|") if name != "(no genres listed)")
    return " ".join(name.replace(" ", "_") for name in names)


def _names(genres: str) -> tuple[str, ...]:
    return tuple(name.replace("_", " ") for name in genres.split())


def _clean(text: str) -> str:
    """Make one line without tabs, HTML entities resolved; what UTF-8 has no bytes for is "?"."""
    return words_of(html.unescape(text))


def _id(value: object) -> str:
    if type(value) not in (str, int):
        raise TypeError(f"an id {value!r}")
    return str(value)


def _check_ids(ids: pd.Series) -> None:
    """Raise `InputError` for ids that cannot stand in a cell."""
    for value in ids.unique():
        if not value or UNWRITABLE.search(value):
            raise InputError(
                f"{ids.name}: every id", "must be a text of one line without tabs", repr(value),
                "Correct or remove its rows.",
            )  # fmt: skip
