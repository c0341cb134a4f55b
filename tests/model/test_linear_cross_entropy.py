"""The cross-entropy that is computed in pieces, against that of the whole scores."""

from collections.abc import Callable

import pytest
import torch

from ur4rec_recbole.model import linear_cross_entropy, losses

P, N, D = 150, 40, 8


def refusing(excluded: torch.Tensor) -> Callable[[torch.Tensor, slice], None]:
    """Refuse what is marked, [P, N] or [1, N]."""

    def refuse(scores: torch.Tensor, at: slice) -> None:
        scores.masked_fill_(excluded[at] if len(excluded) > 1 else excluded, -torch.inf)

    return refuse


def both(
    excluded: torch.Tensor,
    dtype: torch.dtype = torch.float32,
    weights: torch.Tensor | None = None,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The loss and both gradients, in pieces and as a whole; either loss is weighted by 3."""
    generator = torch.Generator().manual_seed(2020)
    targets = torch.randint(1, N, (P,), generator=generator)
    found = []
    for pieces in (True, False):
        generator.manual_seed(7)
        queries = torch.randn(P, D, generator=generator).requires_grad_()
        vectors = torch.randn(N, D, generator=generator).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            if pieces:
                loss = linear_cross_entropy.linear_cross_entropy(
                    queries, vectors, targets, refusing(excluded), weights
                )
            else:
                loss = losses.next_item(queries @ vectors.T, targets, excluded, weights)
        (3 * loss).backward()
        assert queries.grad is not None
        assert vectors.grad is not None
        found.append([loss.detach(), queries.grad, vectors.grad])
    return found[0], found[1]


@pytest.mark.parametrize("held", [1, 64 * N, 2**20])  # 64 positions a piece, the last one short
@pytest.mark.parametrize("rows", [1, P])
@pytest.mark.parametrize("weights", [None, 2 * torch.arange(P) / (P - 1)])
def test_pieces_have_the_loss_and_the_gradients_of_the_whole(
    held: int, rows: int, weights: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_cross_entropy, "CACHED", held)
    excluded = torch.rand(rows, N, generator=torch.Generator().manual_seed(3)) < 0.4
    excluded[:, 0] = True
    for ours, whole in zip(*both(excluded, weights=weights), strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-6)


def test_under_autocast_the_products_are_rounded_and_the_loss_is_not() -> None:
    excluded = torch.arange(N).unsqueeze(0) == 0
    for ours, whole in zip(*both(excluded, torch.bfloat16), strict=True):
        torch.testing.assert_close(ours, whole, rtol=3e-2, atol=1e-2)


def test_scores_that_lie_far_apart_stay_finite() -> None:
    queries = torch.tensor([[1000.0], [-1000.0]], requires_grad=True)
    vectors = torch.tensor([[0.0], [1.0], [2.0]], requires_grad=True)
    loss = linear_cross_entropy.linear_cross_entropy(
        queries, vectors, torch.tensor([1, 1]), refusing(torch.tensor([[True, False, False]]))
    )
    loss.backward()
    assert loss.item() == pytest.approx(500)  # 1,000 behind the best item, and nothing
    assert queries.grad is not None
    assert torch.isfinite(queries.grad).all()


def test_without_gradients_only_the_loss_is_computed() -> None:
    queries, vectors = torch.randn(3, D), torch.randn(N, D)
    targets = torch.tensor([0, 2, 3])
    ours = linear_cross_entropy.linear_cross_entropy(queries, vectors, targets)
    torch.testing.assert_close(
        ours, torch.nn.functional.cross_entropy(queries @ vectors.T, targets)
    )
