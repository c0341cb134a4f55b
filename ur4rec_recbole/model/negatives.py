"""Negatives: which items a sampled loss compares the target with, and how likely each was drawn.

All positions of a batch share K drawn items, so that a sequence is never repeated K times; hard
negatives are each position's own.
"""

import math
from typing import NamedTuple

import torch
from recbole.sampler import RepeatableSampler
from torch import Tensor


class Negatives(NamedTuple):
    """What P positions are compared with.

    Attributes
    ----------
    items
        [P, K] internal ids.
    false
        [P, K] bool, True where an item is no negative: the target, known to the user, or compared
        already as a hard negative.
    log_count
        [P, K], the logarithm of how often the item was expected here: 0 for a hard negative.
    target_log_count
        [P], the same of the target, had it been a wrong item.
    """

    items: Tensor
    false: Tensor
    log_count: Tensor
    target_log_count: Tensor


def draw(sampler: RepeatableSampler, distribution: str, count: int, targets: Tensor) -> Tensor:
    """Draw ids [K] in random order: from RecBole's sampler, or all distinct targets of the batch.

    RecBole's may hold an item more than once.
    """
    if distribution == "in_batch":
        distinct = targets.unique()
        return distinct[torch.randperm(len(distinct), device=distinct.device)]
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


def log_expected_count(distribution: str, log_q: Tensor, count: int) -> Tensor:
    """Return the logarithm [N] of how often `draw` is expected to give an item.

    Parameters
    ----------
    distribution, log_q
        As in `log_probability`.
    count
        Draws made: of the sampler, or of the batch's targets before they are made distinct. Of n
        targets at least one is the item with a chance of 1 - (1 - q)^n.

    Source: Yi et al. 2019, section 3, where p_j is the chance of being in a random batch.
    """
    if distribution == "in_batch":
        return (-torch.expm1(count * torch.log1p(-log_q.exp()))).log()
    return log_q + math.log(count)


def shared_by_all(
    drawn: Tensor, log_count: Tensor, targets: Tensor, excluded: Tensor | None
) -> Negatives:
    """Compare all positions with the drawn items.

    Parameters
    ----------
    drawn
        [K] ids.
    log_count
        [N], of `log_expected_count`.
    targets
        [P].
    excluded
        [P, K] or [1, K] bool, which of them are no negatives at a position, or None.
    """
    shape = (len(targets), len(drawn))
    false = (drawn == targets.unsqueeze(1)) | (drawn == 0)
    if excluded is not None:
        false = false | excluded
    of_items = log_count[drawn].expand(shape)
    return Negatives(drawn.expand(shape), false, of_items, log_count[targets])


def add_hard_negatives(
    shared: Tensor,
    log_count: Tensor,
    scores: Tensor,
    targets: Tensor,
    excluded: Tensor | None,
    share: float,
) -> Negatives:
    """Replace a share of the drawn items by each position's highest-scoring wrong ones.

    Parameters
    ----------
    shared
        [K] drawn ids, in random order.
    log_count
        [N], of `log_expected_count`.
    scores
        [P, N] the model's present scores, by which it mines (no gradient is taken).
    targets
        [P].
    excluded
        [P, N] or [1, N] bool, items that are no negatives at a position, or None.
    share
        Of K, in [0, 1].
    """
    n_hard = min(round(share * len(shared)), scores.shape[1])
    if not n_hard:
        among = None if excluded is None else excluded[:, shared]
        return shared_by_all(shared, log_count, targets, among)
    column = targets.unsqueeze(1)
    wrong = torch.zeros_like(scores, dtype=torch.bool)
    if excluded is not None:
        wrong |= excluded
    wrong[:, 0] = True
    wrong.scatter_(1, column, True)
    present = scores.detach()
    mined = present.masked_fill(wrong, -torch.inf).topk(n_hard, dim=1)
    mined_false = wrong.gather(1, mined.indices)  # where fewer are left than asked for
    mined_too = wrong.scatter(1, mined.indices, True)
    certain = (present.gather(1, column) >= mined.values[:, -1:]).squeeze(1)  # if it were wrong
    kept = shared[n_hard:]
    # The draw is thinned. Where it is gone altogether nothing is left to chance, nor corrected.
    thinned = torch.zeros_like(log_count)
    if len(kept):
        thinned = log_count + math.log(len(kept) / len(shared))
    of_items = torch.cat([thinned.new_zeros(n_hard), thinned[kept]])  # at every position the same
    kept = kept.expand(len(targets), -1)
    return Negatives(
        torch.cat([mined.indices, kept], dim=1),
        torch.cat([mined_false, mined_too.gather(1, kept)], dim=1),
        of_items.expand(len(targets), -1),
        thinned[targets].masked_fill(certain, 0.0),
    )
