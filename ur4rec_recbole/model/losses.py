"""Training losses, all pure functions of scores and targets, each a mean over its positions.

Next-item losses take `weights` [P] of mean 1, by which some positions count more than others.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ur4rec_recbole.model.linear_cross_entropy import linear_cross_entropy


def next_item(
    scores: Tensor,
    targets: Tensor,
    excluded: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the target against all items.

    Parameters
    ----------
    scores
        [P, N]; column 0 is padding and never a candidate.
    targets
        [P] in [1, N).
    excluded
        [P, N] or [1, N] bool, True for items that are no candidates at that position (an item
        that the user has had is no negative where items do not repeat). A target is never excluded.
    """
    masked = torch.zeros_like(scores, dtype=torch.bool)
    if excluded is not None:
        masked |= excluded
    masked[:, 0] = True
    masked.scatter_(1, targets.unsqueeze(1), False)
    scores = scores.float().masked_fill(masked, -torch.inf)
    return _cross_entropy(scores, targets, weights)


def info_nce(
    positive: Tensor,
    negative: Tensor,
    false_negative: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
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
    first = logits.new_zeros(len(logits), dtype=torch.long)
    return _cross_entropy(logits, first, weights)


def bpr(
    positive: Tensor,
    negative: Tensor,
    false_negative: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Bayesian personalised ranking: -log sigmoid(s+ - s_k), mean over true negatives.

    Shapes are those of `info_nce`. Source: Rendle et al. 2009, section 4.1.
    """
    loss = -functional.logsigmoid((positive.unsqueeze(1) - negative).float())
    return _mean(_mean_over_true(loss, false_negative), weights)


def gbce(
    positive: Tensor,
    negative: Tensor,
    false_negative: Tensor,
    sampling_rate: float,
    calibration: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Generalised binary cross-entropy: -(beta log sigmoid(s+) + sum_k log(1 - sigmoid(s_k))).

    Parameters
    ----------
    positive, negative, false_negative
        As in `info_nce`.
    sampling_rate
        alpha, the share of all negatives that is drawn, in (0, 1].
    calibration
        t in [0, 1]: 0 is plain binary cross-entropy, 1 makes sampled scores calibrated.

    Source: Petrov and Macdonald 2023, equations 5 and 16; divided by the number of terms.
    """
    alpha = sampling_rate
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    hit = beta * functional.logsigmoid(positive.float())
    rejections = functional.logsigmoid(-negative.float()).masked_fill(false_negative, 0.0)
    terms = 1 + (~false_negative).sum(1)
    return -_mean((hit + rejections.sum(1)) / terms, weights)


def _cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return functional.cross_entropy(logits, targets)
    return _mean(functional.cross_entropy(logits, targets, reduction="none"), weights)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return (values if weights is None else values * weights).mean()


def _mean_over_true(values: Tensor, false_negative: Tensor) -> Tensor:
    """Average [P, K] over the true negatives; 0 where there is none."""
    true = (~false_negative).float()
    return (values * true).sum(1) / true.sum(1).clamp(min=1)


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
    diagonal = torch.arange(len(left), device=left.device)
    return (
        linear_cross_entropy(left / temperature, right, diagonal)
        + linear_cross_entropy(right / temperature, left, diagonal)
    ) / 2
