"""Scores of drawn items, and of all items a part at a time, are those of [P, N]."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ur4rec_recbole.model import losses
from ur4rec_recbole.model.fusion import GatedFusion
from ur4rec_recbole.model.scores import DotScores, FusedScores, Scores

P, N, D = 7, 12, 4


def leaves() -> tuple[Tensor, Tensor]:
    """Queries [P, D] and vectors [N, D], the same at every call."""
    generator = torch.Generator().manual_seed(0)
    shapes = (P, D), (N, D)
    made = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    return made[0], made[1]


def outcome(loss: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Return a loss of queries and vectors, and its gradients."""
    queries, vectors = leaves()
    value = loss(queries, vectors)
    return [value, *torch.autograd.grad(value.square().sum(), [queries, vectors])]


def test_scores_of_a_few_items_are_gathered_from_those_of_all() -> None:
    drawn, each = torch.tensor([3, 11, 3, 5]), torch.tensor([1, 2, 3, 4, 5, 11, 1])

    def gathered(queries: Tensor, vectors: Tensor) -> Tensor:
        every = queries @ vectors.T
        return torch.cat([every[:, drawn], every.gather(1, each.unsqueeze(1))], dim=1)

    def few(queries: Tensor, vectors: Tensor) -> Tensor:
        scores = DotScores(queries, vectors)
        return torch.cat([scores.of(drawn), scores.of_each(each).unsqueeze(1)], dim=1)

    def few_of_few(queries: Tensor, vectors: Tensor) -> Tensor:
        items = torch.cat([drawn, each]).unique()
        place = torch.zeros(N, dtype=torch.long)
        place[items] = torch.arange(len(items))
        scores = DotScores(queries, vectors[items], place)
        assert scores.n_items == N
        return torch.cat([scores.of(drawn), scores.of_each(each).unsqueeze(1)], dim=1)

    for made in (few, few_of_few):
        torch.testing.assert_close(outcome(made), outcome(gathered))


def test_scores_of_all_cannot_be_had_from_vectors_of_some() -> None:
    queries, vectors = leaves()
    with pytest.raises(ValueError, match="all items"):
        DotScores(queries, vectors, torch.zeros(2 * N, dtype=torch.long)).at(slice(0, 2))


def fused(queries: Tensor, vectors: Tensor) -> Scores:
    torch.manual_seed(0)
    known = torch.arange(N) != 4
    sequence, retrieval = DotScores(queries, vectors), DotScores(queries.tanh(), vectors.cos())
    return FusedScores(GatedFusion(D, (0.4, 0.6), 4.0), queries, sequence, retrieval, known)


@pytest.mark.parametrize("make", [DotScores, fused])
@pytest.mark.parametrize("held", [1, 3 * N, 4 * N + 1, P * N])
def test_a_softmax_a_part_at_a_time_is_the_softmax(make: Any, held: int) -> None:
    targets = torch.tensor([1, 2, 3, 4, 5, 11, 1])
    known = torch.rand(P, N, generator=torch.Generator().manual_seed(1)) < 0.3
    made = []

    def parts(queries: Tensor, vectors: Tensor) -> Tensor:
        def loss(values: Tensor, at: slice) -> Tensor:
            made.append(values.numel())
            return losses.next_item(values, targets[at], known[at])

        return make(queries, vectors).mean(loss, held)

    def whole(queries: Tensor, vectors: Tensor) -> Tensor:
        return losses.next_item(make(queries, vectors).all, targets, known)

    torch.testing.assert_close(outcome(parts), outcome(whole))
    assert max(made) <= max(held, N)


def test_all_scores_are_computed_once() -> None:
    scores = DotScores(*leaves())
    assert scores.all is scores.all
