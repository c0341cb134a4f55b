"""Scores of P states for N items, computed where a loss asks: for all items, or for a few.

[P, N] is the largest tensor of a training step. A loss over drawn items never makes one; a loss
over all items makes a part at a time where the whole would be too large.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ur4rec_recbole.core.memory import SCORES_HELD
from ur4rec_recbole.core.products import by_rows
from ur4rec_recbole.model import losses
from ur4rec_recbole.model.excluded import Excluded
from ur4rec_recbole.model.fusion import Fusion
from ur4rec_recbole.model.linear_cross_entropy import linear_cross_entropy


class Scores:
    """A kind of score; a subclass says how it is computed."""

    n_positions: int
    n_items: int

    @cached_property
    def all(self) -> Tensor:
        """All scores, [P, N]; computed once, whatever asks for them."""
        return self._scored(slice(None))

    def at(self, positions: slice) -> Tensor:
        """Score all items at some positions, [p, N]."""
        return self.all if positions == slice(None) else self._scored(positions)

    def _scored(self, positions: slice) -> Tensor:
        raise NotImplementedError

    def mean(self, loss: Callable[[Tensor, slice], Tensor], held: int = SCORES_HELD) -> Tensor:
        """Average over all positions a loss that needs the scores of all items.

        Parameters
        ----------
        loss
            Takes scores [p, N] and which positions they are of; a mean over these.
        held
            Scores that are held at a time. Where [P, N] is larger, it is made a part at a time,
            and again for the gradients, which are the same.
        """
        size = max(1, held // self.n_items)
        if self.n_positions <= size:
            return loss(self.all, slice(None))

        def partial(start: int, end: int) -> Tensor:
            positions = slice(start, end)
            return loss(self.at(positions), positions) * (end - start)

        starts = range(0, self.n_positions, size)
        sums = [
            checkpoint(partial, start, min(start + size, self.n_positions), use_reentrant=False)
            for start in starts
        ]
        return torch.stack(sums).sum() / self.n_positions

    def next_item(
        self, targets: Tensor, excluded: Excluded, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean of `losses.next_item` over the P positions, with targets [P]."""
        return self.mean(
            lambda values, at: losses.next_item(
                values, targets[at], excluded.at(at), None if weights is None else weights[at]
            )
        )


class DotScores(Scores):
    """s_pj = q_p . v_j.

    Parameters
    ----------
    queries
        [P, D].
    vectors
        [N, D] of all items, or [U, D] of those that a step needs.
    place
        [N] where an item stands among the vectors, if these are not of all items.
    """

    def __init__(self, queries: Tensor, vectors: Tensor, place: Tensor | None = None) -> None:
        self.queries, self.vectors, self.place = queries, vectors, place
        self.n_positions = len(queries)
        self.n_items = len(vectors) if place is None else len(place)

    def _scored(self, positions: slice) -> Tensor:
        return _products(self.queries[positions], self._of_all_items())

    def next_item(
        self, targets: Tensor, excluded: Excluded, weights: Tensor | None = None
    ) -> Tensor:
        """Return the same in pieces that stay in cache."""
        vectors = self._of_all_items()
        return linear_cross_entropy(self.queries, vectors, targets, excluded.refuse, weights)

    def _of_all_items(self) -> Tensor:
        if self.place is not None:
            raise ValueError("a step that needs all scores has the vectors of all items")
        return self.vectors

    def of_each(self, items: Tensor) -> Tensor:
        """Score one item [P] at each position, [P]."""
        return (self.queries * self._vectors(items)).sum(-1)

    def of(self, items: Tensor) -> Tensor:
        """Score some items [K] at all positions, [P, K]."""
        return _products(self.queries, self._vectors(items))

    def _vectors(self, items: Tensor) -> Tensor:
        return self.vectors[items if self.place is None else self.place[items]]


def with_prior(vectors: Tensor, prior: Tensor | None) -> Tensor:
    """Put a prior [N] beside vectors [N, D], if there is one; `with_one` is for the queries."""
    return vectors if prior is None else torch.cat([vectors, prior.unsqueeze(1)], dim=1)


def with_one(queries: Tensor, prior: Tensor | None) -> Tensor:
    """Put a 1 beside queries [P, D] where vectors have a prior, which their products gain so."""
    return with_prior(queries, None if prior is None else queries.new_ones(len(queries)))


def discounted_gain(scores: Tensor, targets: Tensor, depth: int | None = None) -> Tensor:
    """Return 1 / log2(1 + rank) of each row's target, [B], by scores [B, N]; 0 below a depth."""
    own = scores.gather(1, targets.unsqueeze(1))
    better = (scores > own).sum(1)
    gain = 1 / torch.log2(2.0 + better)
    return gain if depth is None else gain * (better < depth)


def neutral(scores: Tensor, known: Tensor) -> Tensor:
    """Give items that nothing is known of (`known` [N]) the mean of the others' scores [B, N]."""
    if known[1:].all() or not known.any():
        return scores
    return torch.where(known, scores, scores[:, known].mean(1, keepdim=True))


def _products(queries: Tensor, vectors: Tensor) -> Tensor:
    return by_rows(lambda rows: rows @ vectors.T, queries)


class FusedScores(Scores):
    """The fusion of two scores, each standardised over all items: it cannot do without all.

    Parameters
    ----------
    fusion, states
        The fusion and the states [P, D] that it reads.
    sequence, retrieval
        The two.
    known
        [N] bool, the items that the encoder knows something of. The others get the mean of these,
        not a sequence score of 0.
    """

    def __init__(
        self, fusion: Fusion, states: Tensor, sequence: Scores, retrieval: Scores, known: Tensor
    ) -> None:
        self.fusion, self.states, self.known = fusion, states, known
        self.sequence, self.retrieval = sequence, retrieval
        self.n_positions, self.n_items = sequence.n_positions, sequence.n_items

    def _scored(self, positions: slice) -> Tensor:
        sequence, retrieval = (
            neutral(self.sequence.at(positions), self.known),
            self.retrieval.at(positions),
        )
        return self.fusion(self.states[positions], sequence, retrieval)
