"""What a data set tells about its items: title, year, genres, other columns, and a sentence.

First step of `ur4rec extract text` and `ur4rec extract profile`, and where `ur4rec inspect` finds
titles. Reads RecBole's atomic files; loads no heavy library.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path

from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.atomic_files import read_cells, read_header
from ur4rec_recbole.data.dataset import UR4RecDataset

ROLES = {
    "title": ("title", "name"),
    "year": ("year",),
    "genres": ("genre", "class", "categor"),
}
# MovieLens writes "Postman, The".
TRAILING_ARTICLE = re.compile(r"^(.*), (The|An|A|Le|La|Les|Il|El|Das|Der|Die)$")


@dataclass(frozen=True)
class Item:
    """What is known about one item.

    Parameters
    ----------
    title
        Empty where the data set names none.
    year
        Four digits, or None.
    genres
        Distinct names in the file's order.
    other
        Further text columns by name.
    """

    title: str = ""
    year: int | None = None
    genres: tuple[str, ...] = ()
    other: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Title with year, as in "Toy Story (1995)"."""
        title = TRAILING_ARTICLE.sub(r"\2 \1", self.title)
        if self.year is None or f"({self.year})" in title:
            return title
        return f"{title} ({self.year})".strip()

    @property
    def sentence(self) -> str:
        """All of it as a short text for a sentence encoder; empty where nothing is known."""
        parts = [f"{self.label}."] if self.label else []
        if self.genres:
            parts.append(f"Genres: {', '.join(self.genres)}.")
        parts += [
            f"{name.replace('_', ' ').capitalize()}: {text}." for name, text in self.other.items()
        ]
        return " ".join(parts)


def load_dataset(
    name: str, config_files: Sequence[str] = (), overrides: Mapping[str, object] | None = None
) -> UR4RecDataset:
    """Load a RecBole data set by name, not yet split.

    Parameters
    ----------
    name
        A folder below RecBole's data_path, or one that RecBole ships, such as "ml-100k".
    config_files
        RecBole YAML files; filters and eval_args in them decide what the tables cover.
    overrides
        Further keys, above the files.
    """
    settings = {
        # SASRec stands for any sequential model: it makes RecBole read the data sequentially.
        "train_neg_sample_args": None,
        "state": "ERROR",
        "normalize_all": False,  # ratings in profiles keep the data set's own scale
        **(overrides or {}),
    }
    return UR4RecDataset(configuration("SASRec", name, config_files, settings))


def item_tokens(dataset: UR4RecDataset) -> list[str]:
    """Return the raw item ids of the data set, without padding, in internal order."""
    return [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]


def read_items(dataset: UR4RecDataset, columns: Mapping[str, str] | None = None) -> dict[str, Item]:
    """Read the .item file of a data set.

    Parameters
    ----------
    dataset
        Tells where the file is and which items to keep.
    columns
        Role ("title", "year", "genres") to column name, where the names do not tell.

    Returns
    -------
    items
        By raw item id; only items of the data set. Empty where it has no .item file.
    """
    config = dataset.config
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        return {}
    kinds = read_header(path, config["field_separator"], config["encoding"])
    if dataset.iid_field not in kinds:
        raise InputError(
            f"{path.name}: columns", f"must include {dataset.iid_field!r}", list(kinds),
            "Set ITEM_ID_FIELD to the file's own name for item ids.",
        )  # fmt: skip
    roles = _roles(list(kinds), dataset.iid_field, columns or {}, path.name)
    frame = read_cells(path, config["field_separator"], config["encoding"])
    known = set(item_tokens(dataset))
    once = frame.drop_duplicates(dataset.iid_field)  # the first row, as RecBole has it
    rows = once[once[dataset.iid_field].isin(known)].to_dict("records")
    texts = [
        name
        for name, kind in kinds.items()
        if kind.startswith("token") and name != dataset.iid_field and name not in roles.values()
    ]
    separator = config["seq_separator"] or " "
    return {row[dataset.iid_field]: _item(row, roles, texts, separator) for row in rows}


def read_sound_items(dataset: UR4RecDataset) -> dict[str, Item]:
    """Read the .item file, or nothing and a warning where it is damaged.

    For display only: a run that does not need the file must not fail because of it.
    """
    try:
        return read_items(dataset)
    except InputError as error:
        _warn_once(str(error))
        return {}


@functools.cache
def _warn_once(message: str) -> None:
    getLogger().warning(f"Titles and genres are left out. {message}")


def _roles(names: list[str], iid_field: str, given: Mapping[str, str], file: str) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, hints in ROLES.items():
        if role in given and given[role] not in names:
            raise InputError(
                f"the {role} column", f"must be one of {file}: {names}", given[role],
                "Name one of these columns.",
            )  # fmt: skip
        candidates = [
            name
            for hint in hints
            for name in names
            if hint in name.lower() and name != iid_field and name not in roles.values()
        ]
        if role in given or candidates:
            roles[role] = given.get(role, candidates[0] if candidates else "")
    return roles


def _item(
    row: Mapping[str, str], roles: Mapping[str, str], texts: Sequence[str], separator: str
) -> Item:
    year = row.get(roles.get("year", ""), "").strip()[:4]
    genres = row.get(roles.get("genres", ""), "").split(separator)
    other = {name: " ".join(row[name].split()) for name in texts}
    return Item(
        title=" ".join(row.get(roles.get("title", ""), "").split()),
        year=int(year) if len(year) == 4 and year.isdecimal() else None,
        genres=tuple(dict.fromkeys(genre.replace("_", " ").strip() for genre in genres if genre)),
        other={name: text for name, text in other.items() if text and "://" not in text},
    )
