"""Fingerprints: SHA-256 digests of what shapes a run, so that stale inputs are noticed.

data_fingerprint   the interactions and side information as RecBole has loaded and filtered them
table_hashes       the content of every feature table that a configuration names
source_hash        the atomic files, byte for byte, for caches that replace reading them
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import file_hash
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.modalities import PROFILE_TABLE, item_tables, table_path

INPUTS = "input_hashes"  # the configuration's key for what `inputs` returns


def data_fingerprint(dataset: Dataset) -> str:
    """Return the SHA-256 of a data set between `create_dataset` and `build`.

    At that time it holds all interactions, those of validation and test included, with their times
    still exact. Tokens count in the order of their internal ids: weights are stored by these.
    """
    digest = hashlib.sha256()
    for field in sorted(dataset.field2id_token):
        _update(digest, field, np.asarray(dataset.field2id_token[field], dtype=str))
    for name in ("inter_feat", "user_feat", "item_feat"):
        frame = getattr(dataset, name, None)
        if frame is None:
            continue
        columns = frame if isinstance(frame, pd.DataFrame) else frame.interaction
        for column in sorted(columns):
            _update(digest, f"{name}.{column}", columns[column])
    return digest.hexdigest()


def _update(digest: Any, name: str, column: Any) -> None:
    values = np.asarray(column)
    lengths = []
    if values.dtype == object:  # one sequence a row
        rows = [np.asarray(each) for each in values]
        lengths = [len(each) if each.ndim else -1 for each in rows]
        values = np.concatenate([np.atleast_1d(each) for each in rows]) if rows else values[:0]
    if values.dtype.kind in "OU":
        content = "\0".join(map(str, values)).encode("utf-8", "surrogatepass")
    else:
        content = np.ascontiguousarray(values).tobytes()
    digest.update(f"{name}\t{values.dtype.kind}\t{values.shape}\t{lengths}\n".encode())
    digest.update(content)


def table_hashes(config: Any) -> dict[str, str]:
    """Return by configuration key the SHA-256 of each table's tokens, vectors and lengths."""
    files = {file.key: file.path for file in item_tables(config).values()}
    profiles = table_path(config, PROFILE_TABLE)
    if profiles is not None:
        files[PROFILE_TABLE] = profiles
    return {key: FeatureTable.load(path).content_sha256() for key, path in files.items()}


def source_hash(config: Any) -> str:
    """Return the SHA-256 of the atomic files that a configuration's data set is read from."""
    folder, digest = Path(config["data_path"]), hashlib.sha256()
    for file in sorted(folder.glob(f"{config['dataset']}.*")):
        if file.is_file():
            digest.update(f"{file.name}\t{file_hash(file)}\n".encode())
    return digest.hexdigest()


def inputs(config: Any, fingerprint: str) -> dict[str, str]:
    """Return the hashes that a run or checkpoint keeps of its inputs: `data`, and one per table."""
    return {"data": fingerprint, **table_hashes(config)}


def check_inputs(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise `InputError` if the data or a table have changed since a run or model was made.

    Parameters
    ----------
    what
        Names it: "--resume runs/x", "model.pth".
    before, now
        What `inputs` returned then, and returns now. The data are compared if both have them.
        Anything made before this check existed has no hashes and passes.
    """
    if not before:
        return
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        known = key != "data" or (old and new)
        if old != new and known:
            thing = "data set, exact times included" if key == "data" else f"table of {key}"
            raise InputError(
                what, f"needs the {thing}, as it was: SHA-256 {old or 'none'}",
                f"SHA-256 {new or 'none'}", "Restore it, or start a new run.",
            )  # fmt: skip
