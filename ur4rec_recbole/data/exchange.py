"""Exports a split for a model of another library, which trains in a process of its own.

What the files hold is told in examples/rectools_adapter.py. Test targets are not among it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.dataset import (
    HISTORY_END,
    HISTORY_START,
    SECONDS,
    UR4RecDataset,
    training_interactions,
)
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.rows import spans


def export(
    file: Path, train: UR4RecDataset, valid: UR4RecDataset, test: UR4RecDataset, table: Path | None
) -> None:
    """Write a split, and the vectors of a text table where one is given, as one npz file."""
    rows = training_interactions(train)
    arrays = {
        "n_items": np.array(train.item_num),
        "users": rows[train.uid_field].numpy(),
        "items": rows[train.iid_field].numpy(),
        "times": _seconds(train, rows),
        **_rows("valid", valid),
        **_rows("test", test),
        "valid/targets": valid.inter_feat[valid.iid_field].numpy(),
    }
    if table is not None:
        tokens = train.field2id_token[train.iid_field]
        arrays["text"], _ = FeatureTable.load(table).align(tokens, allow_unknown=True)
    with atomic_write(file) as stream:
        np.savez(stream, **arrays)


def _rows(name: str, part: UR4RecDataset) -> dict[str, np.ndarray]:
    """Return the histories of a part's rows, and when each row's recommendation is asked for."""
    start, end = (part.inter_feat[field] for field in (HISTORY_START, HISTORY_END))
    _, place = spans(start, end - start)
    return {
        f"{name}/bounds": np.r_[0, np.cumsum((end - start).numpy())],
        f"{name}/items": part.interactions[part.iid_field][place].numpy(),
        f"{name}/times": _seconds(part, part.interactions)[place.numpy()],
        f"{name}/request": _seconds(part, part.inter_feat),
    }


def _seconds(part: UR4RecDataset, rows: Any) -> np.ndarray:
    field = SECONDS if SECONDS in rows else part.time_field
    return rows[field].numpy().astype(np.float64)
