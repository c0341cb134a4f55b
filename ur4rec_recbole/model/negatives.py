"""Negatives: which items a sampled loss compares the target with, and how likely each was drawn.

All positions of a batch share K drawn items, so that a sequence is never repeated K times; hard
negatives are each position's own.
"""

from typing import NamedTuple

import torch
from recbole.sampler import RepeatableSampler
from torch import Tensor


class Negatives(NamedTuple):
    """Drawn items of P positions.

    Attributes
    ----------
    items
        [P, K] internal ids.
    false
        [P, K] bool, True where an item is no negative: the target, or known to the user.
    """

    items: Tensor
    false: Tensor


def draw(sampler: RepeatableSampler, distribution: str, count: int, targets: Tensor) -> Tensor:
    """Draw ids [K] shared by all positions: from RecBole's sampler, or the batch's own targets."""
    if distribution == "in_batch":
        return targets.unique()
    return torch.from_numpy(sampler.sampling(count)).to(targets.device)


def log_probability(distribution: str, item_counts: Tensor) -> Tensor:
    """Return log q [N], the logarithm of the chance that one draw gives an item.

    Parameters
    ----------
    distribution
        uniform, popularity or in_batch; a batch's targets are spread as popularity is.
    item_counts
        [N] training interactions of each item; items without any count as half a one.
    """
    weight = torch.ones_like(item_counts, dtype=torch.float)
    if distribution != "uniform":
        weight = item_counts.float().clamp(min=0.5)
    weight[0] = 0
    return (weight / weight.sum()).clamp(min=1e-12).log()


def harden(
    shared: Tensor, scores: Tensor, targets: Tensor, excluded: Tensor | None, share: float
) -> Negatives:
    """Replace a share of the drawn items by each position's highest-scoring wrong ones.

    Parameters
    ----------
    shared
        [K] drawn ids.
    scores
        [P, N] the model's present scores, by which it mines (no gradient is taken).
    targets
        [P].
    excluded
        [P, N] bool, items that are no negatives at a position, or None.
    share
        Of K, in [0, 1].
    """
    n_positions, n_hard = len(targets), round(share * len(shared))
    wrong = torch.zeros_like(scores, dtype=torch.bool) if excluded is None else excluded.clone()
    wrong[:, 0] = True
    wrong.scatter_(1, targets.unsqueeze(1), True)
    items = shared[n_hard:].expand(n_positions, -1)
    if n_hard:
        mined = scores.detach().masked_fill(wrong, -torch.inf).topk(n_hard, dim=1).indices
        items = torch.cat([mined, items], dim=1)
    return Negatives(items, wrong.gather(1, items))
