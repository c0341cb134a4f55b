"""One run of a plan: everything that defines it, and the digest that identifies it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from recbole.config import Config

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import defaults, defaults_file
from ur4rec_recbole.core.files import file_hash
from ur4rec_recbole.core.shapes import Maybe, Values
from ur4rec_recbole.core.yaml_files import find_file, read_mapping
from ur4rec_recbole.data.modalities import MORE_TABLES

FIRST_SEED = 2020
ATOMIC = (".inter", ".item", ".user", ".kg", ".link", ".net")
# Of benchmark.json: which folder is whose.
INDEX = {
    "dataset": str, "baseline": Maybe(str), "entries": Values(str), "runs": Values(str),
    "groups": Maybe(Values(str)),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    Attributes
    ----------
    name
        Shown in the report; unique.
    model
        As RecBole knows it.
    config_files, settings
        As `quick_start.run` takes them.
    seeds
        One run each.
    pretrain
        Settings of a run before each; none where empty.
    start_from
        The entry whose first stage it starts from, or None.
    group
        Of entries that read the same (ids, times, content), which the report compares; or None.
    """

    name: str
    model: str
    config_files: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (FIRST_SEED,)
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    start_from: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Job:
    """One run: an entry with one seed. The run's process gets its description as JSON.

    `first` holds the settings of the first stage that it starts from, if any; `id` names its
    folder.
    """

    id: str
    entry: str
    model: str
    dataset: str
    settings: Mapping[str, Any]
    pretrain: Mapping[str, Any]
    first: Mapping[str, Any] | None = None

    def description(self) -> dict[str, Any]:
        """Return what JSON can hold: all that defines the run.

        Tables and data are told by a SHA-256 for each of their files.
        """
        first = None if self.first is None else self._with_tables(self.first)
        return {
            "id": self.id, "entry": self.entry, "model": self.model, "dataset": self.dataset,
            "first": first, "pretrain": dict(self.pretrain), **self._with_tables(self.settings),
        }  # fmt: skip

    def _with_tables(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "settings": dict(settings),
            "tables": _tables(self.model, self.dataset, settings),
            "data": _data(self.dataset, settings.get("data_path")),
        }


def digest(found: Mapping[str, Any]) -> str:
    """Return the digest of what a run is: its description, but for seed and data.

    Where data and tables lie is left out, too: tables are known by their hashes.
    """
    bare = json.loads(json.dumps(found))
    for key in ("id", "digest"):  # earlier descriptions hold a digest of their own
        bare.pop(key, None)
    for part in (bare, bare.get("first") or {}):
        part.pop("data", None)
        part["settings"] = _without_places(part.get("settings", {}), part.get("tables", {}))
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def _without_places(settings: Mapping[str, Any], hashed: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of settings the seed, the data's folder, and the files whose hashes are known."""
    files = {key for key in hashed if _names_file(key)}
    left = {k: v for k, v in settings.items() if k not in {"seed", "data_path", *files}}
    more = left.get(MORE_TABLES)
    if isinstance(more, Mapping):
        left[MORE_TABLES] = {k: v for k, v in more.items() if k not in hashed}
    return left


def is_same(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Tell whether two descriptions are of the same run, but for the seed."""
    if not before or digest(before) != digest(now):
        return False
    pairs = [(before, now), (before.get("first") or {}, now["first"] or {})]
    return all(has_same_data(old, new) for old, new in pairs)


def has_same_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether two descriptions are of the same data; earlier ones do not tell."""
    return before.get("data") in (None, {}, now.get("data"))


def data_digest(found: Mapping[str, Any]) -> str:
    """Return the digest of a description's data."""
    return hashlib.sha256(json.dumps(found.get("data"), sort_keys=True).encode()).hexdigest()


def _data(dataset: str, data_path: str | None) -> dict[str, str]:
    """Return the hash of every atomic file of a data set, {} before RecBole has downloaded it."""
    folder = _data_folder(dataset, data_path)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        file.name: _hash(str(file), file.stat().st_mtime_ns)
        for file in files
        if file.suffix in ATOMIC and file.is_file()
    }


@lru_cache
def _data_folder(dataset: str, data_path: str | None) -> Path:
    """Return where RecBole looks for a data set."""
    given = {} if data_path is None else {"data_path": data_path}
    with settings_from():
        return Path(Config("Pop", dataset, None, given)["data_path"])


def _tables(model: str, dataset: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each table and adapter that is there, of settings or defaults."""
    own = defaults(model) if defaults_file(model).is_file() else {}
    values = {**own, **settings}
    more = values.get(MORE_TABLES)
    named = {k: v for k, v in values.items() if _names_file(k)}
    named |= more if isinstance(more, Mapping) else {}
    files = {
        key: find_file(each.replace("{dataset}", dataset))
        for key, each in named.items()
        if isinstance(each, str)
    }
    return {
        key: _hash(str(file), file.stat().st_mtime_ns)
        for key, file in files.items()
        if file.is_file()
    }


def _names_file(key: str) -> bool:
    return key.endswith("_table") or key == "adapter"


@lru_cache
def _hash(file: str, changed: int) -> str:
    """Return the SHA-256 of a file's content, read once while it does not change."""
    del changed
    return file_hash(file)


def file_values(files: Sequence[str]) -> dict[str, Any]:
    """Return the values that configuration files set, later files over earlier ones."""
    found: dict[str, Any] = {}
    for file in files:
        found |= read_mapping(file, "config_files")
    return {key: value for key, value in found.items() if key not in ("model", "dataset")}


def with_file_values(member: Any) -> Any:
    """Put what a member's files say into its recipe, so that a changed file is another setting."""
    if not isinstance(member, Mapping):
        return member
    own = {key: value for key, value in member.items() if key != "config_files"}
    return {**file_values(member.get("config_files") or ()), **own}


def slug(name: str) -> str:
    """Return a name in the form used in folder names; different names may give the same one."""
    return re.sub(r"[^\w]+", "-", name.lower()).replace("_", "-").strip("-")[:60] or "entry"
