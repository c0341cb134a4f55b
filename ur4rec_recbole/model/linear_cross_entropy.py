"""Cross-entropy of the next item over dot products, a few positions at a time.

The scores [P, N] of a step are tens of megabytes: written by the product, masked, normalised and
turned into gradients, each time by way of the memory. Here a piece of them that fits into the
processor's cache goes all the way to the gradients before the next one is made, so that none of it
is kept, and the backward pass only scales (the idea of Wijmans et al. 2025, "Cut your losses in
large-vocabulary language models", section 4, without its sparsity).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ur4rec_recbole.core.memory import SCORES_HELD
from ur4rec_recbole.core.products import STEP, filled

CACHED = 2**20  # scores that stay near a core, 4 MB


def linear_cross_entropy(
    queries: Tensor,
    vectors: Tensor,
    targets: Tensor,
    refuse: Callable[[Tensor, slice], None] | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy of the targets, by the scores `queries @ vectors.T`.

    Parameters
    ----------
    queries, vectors
        [P, D] and [N, D].
    targets
        [P] in [0, N).
    refuse
        Sets what is no candidate to -inf in the scores [p, N] of a slice of the positions. A target
        is never refused.
    weights
        [P] of the positions, of mean 1; None where all count alike.
    """
    loss: Tensor = _LinearCrossEntropy.apply(queries, vectors, targets, refuse, weights)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        vectors: Tensor,
        targets: Tensor,
        refuse: Callable[[Tensor, slice], None] | None,
        weights: Tensor | None,
    ) -> Tensor:
        kind, number = queries.device.type, len(queries)
        mixed = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if mixed else queries.dtype
        held = CACHED if kind == "cpu" else SCORES_HELD
        size = max(1, held // len(vectors) // STEP) * STEP
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        loss = queries.new_zeros((), dtype=torch.float32)
        grad_queries = torch.empty_like(queries) if wanted else None
        grad_vectors = torch.zeros_like(vectors) if wanted else None
        with torch.autocast(kind, enabled=False):
            columns = vectors.to(dtype)
            states = filled(queries.to(dtype))
            room = columns.new_empty(min(size, len(states)), len(columns))  # for one piece's scores
            for start in range(0, number, size):
                at = slice(start, min(start + size, number))
                piece, target = states[start : start + size], targets[at].unsqueeze(1)
                made = torch.mm(piece, columns.T, out=room[: len(piece)])
                scores = made.float()[: len(target)]
                hit = scores.gather(1, target)
                if refuse is not None:
                    refuse(scores, at)
                    scores.scatter_(1, target, hit)
                share = torch.softmax(scores, 1, out=scores)
                surprise = _surprise(share, target, hit, piece, columns)
                weight = None if weights is None else weights[at].unsqueeze(1)
                loss += (surprise if weight is None else surprise * weight).sum()
                if grad_queries is None or grad_vectors is None:
                    continue
                share.scatter_add_(1, target, torch.full_like(hit, -1))
                if weight is not None:
                    share *= weight
                rows = filled(share.to(dtype))
                grad_queries[at] = (rows @ columns)[: len(target)]
                grad_vectors += rows.T @ piece
        ctx.save_for_backward(grad_queries, grad_vectors)
        return loss / number

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_queries, grad_vectors = ctx.saved_tensors
        scale = grad / len(grad_queries)
        return grad_queries * scale, grad_vectors * scale, None, None, None


def _surprise(
    share: Tensor, target: Tensor, hit: Tensor, queries: Tensor, vectors: Tensor
) -> Tensor:
    """Return -log share of the targets [p, 1], whose scores are `hit`.

    Where a share vanishes it is told from the best item's, which never does, and both scores.
    """
    own, least = share.gather(1, target), torch.finfo(share.dtype).tiny
    if own.device.type == "cpu" and own.numpy().min() >= least:  # a card would be waited for
        return -own.log()
    best, item = share.max(1, keepdim=True)
    score = (queries[: len(own)] * vectors[item.squeeze(1)]).sum(1, keepdim=True).float()
    return torch.where(own < least, score - best.log() - hit, -own.clamp(min=least).log())
