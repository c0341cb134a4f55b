"""Causal user profiles: at every position the newest snapshot that had seen no more than it.

A snapshot is a text written from a user's first n interactions and stored with n. Position t, at
which n_t interactions are known, may use only the newest snapshot with n <= n_t.
"""

from typing import NamedTuple

import numpy as np
import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset, training_fingerprint
from ur4rec_recbole.data.features import FeatureTable, token_rows


class ProfileIndex(NamedTuple):
    """Snapshots sorted by (user, length).

    Attributes
    ----------
    vectors
        [1 + R, W] float32; row 0 is the absent snapshot.
    keys
        [R] int64, ascending: user * base + length.
    base
        One more than the longest length of a user of the data set.
    """

    vectors: torch.Tensor
    keys: torch.Tensor
    base: int


def profile_index(
    table: FeatureTable, train: UR4RecDataset, allow_unknown: bool = False
) -> ProfileIndex:
    """Align a profile table with a data set, refusing any that reaches beyond its training part."""
    users = token_rows(table, train.field2id_token[train.uid_field], allow_unknown)
    lengths = np.asarray(table.lengths, dtype=np.int64)
    _check_causal(table, users, lengths, train)
    known = np.flatnonzero(users > 0)
    order = known[np.lexsort((lengths[known], users[known]))]
    base = int(lengths[known].max(initial=0)) + 1
    keys = users[order] * base + lengths[order]
    vectors = np.zeros((len(order) + 1, table.width), dtype=np.float32)
    vectors[1:] = table.vectors[order]
    return ProfileIndex(torch.from_numpy(vectors), torch.from_numpy(keys), base)


def newest_snapshot(
    keys: torch.Tensor, base: int, users: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Return the row of `ProfileIndex.vectors` that each position may use, 0 for none.

    Parameters
    ----------
    keys, base
        As in `ProfileIndex`.
    users
        [B] internal user ids.
    known
        [B, L] interactions known at each position (n_t).

    Returns
    -------
    rows
        [B, L] int64.
    """
    query = users.unsqueeze(-1) * base + known.clamp(min=0, max=base - 1)
    row = torch.searchsorted(keys, query, right=True)  # count of keys <= query
    owner = keys[(row - 1).clamp(min=0)] // base if len(keys) else torch.zeros_like(row)
    return torch.where((row > 0) & (owner == users.unsqueeze(-1)), row, 0)


def _check_causal(
    table: FeatureTable, users: np.ndarray, lengths: np.ndarray, train: UR4RecDataset
) -> None:
    seen = train.seen_rows()
    owner = train.interactions[train.uid_field].numpy()[seen]
    available = np.bincount(owner, minlength=train.user_num)
    ahead = (users > 0) & (lengths > available[users])
    if ahead.any():
        names = np.unique(table.tokens[ahead])
        raise InputError(
            f"{table.name}: every profile",
            "must be written from training interactions alone",
            f"{len(names)} users whose profiles reach into validation or test, such as "
            f"{names[:5].tolist()}",
            "Make the table again for this split with `ur4rec extract profile`.",
        )
    expected = training_fingerprint(train)
    if table.provenance["source_sha256"] != expected:
        raise InputError(
            f"{table.name}: source_sha256",
            f"must be that of this split's training interactions, {expected[:12]}...",
            f"{str(table.provenance['source_sha256'])[:12]}...",
            "Make the table again for this split with `ur4rec extract profile`.",
        )
