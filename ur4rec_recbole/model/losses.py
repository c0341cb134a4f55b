"""Training losses, all pure functions of scores and targets, each a mean over its positions."""

import torch
from torch import Tensor
from torch.nn import functional


def next_item(scores: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Cross-entropy of the target against all items.

    Parameters
    ----------
    scores
        [P, N]; column 0 is padding and never a candidate.
    targets
        [P] in [1, N).
    excluded
        [P, N] bool, True for items that are no candidates at that position (an item that the user
        has had is no negative where items do not repeat). A target is never excluded.
    """
    masked = torch.zeros_like(scores, dtype=torch.bool) if excluded is None else excluded.clone()
    masked[:, 0] = True
    masked.scatter_(1, targets.unsqueeze(1), False)
    return functional.cross_entropy(scores.float().masked_fill(masked, -torch.inf), targets)


def info_nce(positive: Tensor, negative: Tensor, false_negative: Tensor) -> Tensor:
    """InfoNCE: -log exp(s+) / (exp(s+) + sum_k exp(s_k)) (van den Oord et al. 2018, section 2.3).

    Parameters
    ----------
    positive
        [P] scores of the targets, already divided by the temperature.
    negative
        [P, K] scores of the negatives.
    false_negative
        [P, K] bool, True where a drawn item is the target or known to the user.
    """
    logits = torch.cat(
        [positive.unsqueeze(1), negative.masked_fill(false_negative, -torch.inf)], dim=1
    ).float()
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def load_balance(weights: Tensor) -> Tensor:
    """Squared coefficient of variation of each output's total weight; 0 when all carry the same.

    Parameters
    ----------
    weights
        [P, G] gate weights.

    Source: Shazeer et al. 2017, section 4 (importance loss).
    """
    importance = weights.float().sum(0)
    return importance.var(unbiased=False) / importance.mean().square().clamp(min=1e-12)


def alignment(left: Tensor, right: Tensor, present: Tensor, temperature: float) -> Tensor:
    """Symmetric contrastive loss between two views of the items (Radford et al. 2021, figure 3).

    Parameters
    ----------
    left, right
        [N, D] views, such as text and image.
    present
        [N] bool, items that have both; fewer than two give 0.
    temperature
        Of the cosine similarities.
    """
    if int(present.sum()) < 2:
        return left.sum() * 0.0
    left = functional.normalize(left[present].float(), dim=-1)
    right = functional.normalize(right[present].float(), dim=-1)
    logits = left @ right.T / temperature
    diagonal = torch.arange(len(logits), device=logits.device)
    both = functional.cross_entropy(logits, diagonal) + functional.cross_entropy(logits.T, diagonal)
    return both / 2
