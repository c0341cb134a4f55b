"""Causal user-profile snapshots to a feature table: `ur4rec extract profile`.

A snapshot is written from a user's first n training interactions and stored with n; the model lets
a position use the newest one with n no greater than what it knows (data/profiles.py).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import (
    UR4RecDataset,
    training_fingerprint,
    training_interactions,
)
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.encoders import TextEncoder
from ur4rec_recbole.extract.fingerprints import text_hash
from ur4rec_recbole.extract.template import History

DEFAULT_LENGTHS = (5, 10, 20, 40, 80, 160, 320)


class Snapshot(NamedTuple):
    """A user after `length` interactions, with the text written from them."""

    user: str
    length: int
    text: str


def training_histories(train: UR4RecDataset) -> dict[str, History]:
    """Return the training interactions of every user, oldest first, with ratings if loaded."""
    rows = training_interactions(train)
    users = train.id2token(train.uid_field, rows[train.uid_field].numpy())
    items = train.id2token(train.iid_field, rows[train.iid_field].numpy())
    rating = train.config["RATING_FIELD"]
    ratings = rows[rating].numpy() if rating in rows else None
    bounds = np.flatnonzero(np.r_[True, users[1:] != users[:-1], True])
    return {
        str(users[start]): History(
            items[start:end].tolist(), None if ratings is None else ratings[start:end].tolist()
        )
        for start, end in zip(bounds[:-1], bounds[1:], strict=True)
    }


def snapshot_lengths(available: int, lengths: Sequence[int], last: bool = True) -> list[int]:
    """Return the lengths at which a user with `available` interactions gets a snapshot.

    Parameters
    ----------
    available
        Training interactions of the user.
    lengths
        Wished lengths, each at least 1.
    last
        Whether to add one at `available`, which validation and test positions read.
    """
    chosen = {length for length in lengths if length <= available}
    if last and available > 0:
        chosen.add(available)
    return sorted(chosen)


def plan(
    histories: dict[str, History], lengths: Sequence[int], last: bool = True
) -> list[tuple[str, History]]:
    """Return every (user, history) that needs a text."""
    wrong = [length for length in lengths if length < 1]
    if wrong:
        raise InputError("--lengths", "must be at least 1", wrong, "Leave these out.")
    return [
        (user, history.first(n))
        for user, history in histories.items()
        for n in snapshot_lengths(len(history), lengths, last)
    ]


def write_snapshots(
    planned: Sequence[tuple[str, History]], writer: Callable[[History], str]
) -> list[Snapshot]:
    """Write a text for every planned snapshot."""
    return [Snapshot(user, len(history), writer(history)) for user, history in planned]


def extract_profile(
    snapshots: Sequence[Snapshot], encoder: TextEncoder, train: UR4RecDataset, writer: str
) -> FeatureTable:
    """Encode snapshots into a user-profile table bound to this training part."""
    kept = [snapshot for snapshot in snapshots if snapshot.text.strip()]
    if not kept:
        raise InputError(
            "profiles", "must hold at least one text", f"{len(snapshots)} snapshots, all empty",
            "Check --lengths and the writer.",
        )  # fmt: skip
    vectors = encoder.encode([snapshot.text for snapshot in kept])  # [R, W]
    provenance = {
        "kind": "user_profile",
        "encoder": encoder.name,
        "encoder_version": encoder.version,
        "writer": writer,
        "source": "training interactions and the items' own columns",
        "source_sha256": training_fingerprint(train),
        "texts_sha256": text_hash({f"{s.user} after {s.length}": s.text for s in kept}),
        "split": split_words(train),
    }
    return FeatureTable(
        np.array([snapshot.user for snapshot in kept]),
        vectors.astype(np.float16),
        provenance,
        np.array([snapshot.length for snapshot in kept], dtype=np.int64),
    )


def split_words(train: UR4RecDataset) -> str:
    """Describe the split in words, as in "training part of LS: valid_and_test, TO, by user"."""
    split = train.config["eval_args"]
    how = ", ".join(f"{name}: {value}" for name, value in split["split"].items())
    return f"training part of {how}; order {split['order']}; group by {split['group_by']}"
