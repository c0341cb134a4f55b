"""RecBole's cached data sets and loaders, used only where they are up to date.

With `save_dataset` or `save_dataloaders` RecBole pickles them into `checkpoint_dir` and loads them
from there ever after, even if the files have changed, and with the configuration of that time.
Here a record lies beside each, `<file>.json`: the hash of the atomic files and the settings that
shaped it. A file with another record, or none, is made anew; one that the user has named
(`dataset_save_path`, `dataloaders_save_path`) is refused. Nothing is unpickled unless the
configuration asks for it.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import recbole.data.dataset
from recbole.utils import ModelType
from recbole.utils.argument_list import dataset_arguments

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock, read_json, write_json
from ur4rec_recbole.data.fingerprints import source_hash

ROWS = (*dataset_arguments, "dataset", "seed", "repeatable", "encoding")
LOADERS = (
    *ROWS, "model", "eval_args", "train_neg_sample_args", "valid_neg_sample_args",
    "test_neg_sample_args", "train_batch_size", "eval_batch_size", "shuffle", "transform",
)  # fmt: skip


class Cache(NamedTuple):
    """One of the two caches: the keys that ask for it and name it, and what shapes it."""

    flag: str
    path: str
    shaping: tuple[str, ...]


CACHES = (
    Cache("save_dataset", "dataset_save_path", ROWS),
    Cache("save_dataloaders", "dataloaders_save_path", LOADERS),
)


@contextmanager
def usable(config: Any) -> Iterator[None]:
    """Let RecBole use only the caches that match the configuration and the files.

    New ones get their record when the block has ended; a run that makes the same ones waits.
    """
    before = {cache.path: config[cache.path] for cache in CACHES}
    made = []
    with ExitStack() as locks:
        for cache in CACHES:
            if not (config[cache.flag] or config[cache.path]):
                config[cache.path] = _nowhere(config)
                continue
            record = _record_of(config, cache.shaping)
            file = Path(config[cache.path] or _default_file(config, cache))
            if not config[cache.path]:
                file.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(exclusive_lock(f"{file}.lock"))
            if not file.exists() and not config[cache.path]:
                made.append((file, record))
            elif _read(file) != record:
                if config[cache.path]:
                    _refuse(cache, file, record)
                getLogger().info(f"{file} was made from other files or settings and is made again")
                config[cache.path] = _nowhere(config)
                made.append((file, record))
        try:
            for file, _ in made:
                _beside(file).unlink(missing_ok=True)  # until the file is whole
            yield
            for file, record in made:
                if file.exists():
                    write_json(_beside(file), record)
        finally:
            for key, value in before.items():
                config[key] = value


def _record_of(config: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return what a cache is made from, as JSON gives it back."""
    settings = {key: config[key] for key in keys}
    record = {"sources": source_hash(config), "settings": settings}
    return json.loads(json.dumps(record, default=str))


def _read(file: Path) -> Any:
    try:
        return read_json(_beside(file))
    except (OSError, ValueError):
        return None


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _refuse(cache: Cache, file: Path, record: dict[str, Any]) -> None:
    kept = _read(file)
    if not file.exists():
        received = "none of that name"
    elif not isinstance(kept, dict) or not isinstance(kept.get("settings"), dict):
        received = f"one without {_beside(file).name}, which tells"
    elif kept.get("sources") != record["sources"]:
        received = f"files of SHA-256 {kept.get('sources')}; they are now {record['sources']}"
    else:
        now, then = record["settings"], kept["settings"]
        key = next(key for key in {**now, **then} if now.get(key) != then.get(key))
        received = f"{key} {then.get(key)!r}; it is now {now.get(key)!r}"
    raise InputError(
        f"{cache.path} {file}", "must be made from these files and settings", received,
        f"Make it again by {cache.flag}: True, or leave {cache.path} out.",
    )  # fmt: skip


def _default_file(config: Any, cache: Cache) -> Path:
    """Return where RecBole keeps a cache that has no name of the user's."""
    folder = Path(config["checkpoint_dir"])
    if cache.flag == "save_dataloaders":
        return folder / f"{config['dataset']}-for-{config['model']}-dataloader.pth"
    kind = f"{config['model']}Dataset"
    if not hasattr(recbole.data.dataset, kind):
        kinds = {
            ModelType.SEQUENTIAL: "SequentialDataset",
            ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
        }
        kind = kinds.get(config["MODEL_TYPE"], "Dataset")
    name = getattr(recbole.data.dataset, kind).__name__  # of several models it is one class
    return folder / f"{config['dataset']}-{name}.pth"


def _nowhere(config: Any) -> str:
    """Name a file that does not exist, so that RecBole makes a new cache."""
    return str(Path(config["data_path"]) / "no-such-folder" / "no-such-file")
