"""Losses: equal to loops in value and gradient, and right where the answer is known."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests import reference
from ur4rec_recbole.model import losses


def assert_equal_with_gradients(
    ours: Callable[..., Tensor], naive: Callable[..., Tensor], *inputs: Tensor
) -> None:
    found, expected = ours(*inputs), naive(*inputs)
    assert torch.allclose(found, expected, atol=1e-5)
    for left, right in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        assert torch.allclose(left, right, atol=1e-5)


def test_next_item_equals_the_loop() -> None:
    scores = torch.randn(5, 9, requires_grad=True)
    targets = torch.tensor([1, 8, 3, 3, 5])
    excluded = torch.rand(5, 9) < 0.4
    for mask in (None, excluded):
        assert_equal_with_gradients(
            lambda s, m=mask: losses.next_item(s, targets, m),
            lambda s, m=mask: reference.next_item(s, targets, m),
            scores,
        )


def test_next_item_of_equal_scores_is_the_log_of_the_candidates() -> None:
    loss = losses.next_item(torch.zeros(4, 11), torch.tensor([1, 2, 3, 10]))
    assert loss.item() == pytest.approx(math.log(10))


def test_next_item_of_a_sure_target_is_0() -> None:
    scores = torch.zeros(2, 5)
    scores[:, 2] = 100
    assert losses.next_item(scores, torch.tensor([2, 2])).item() == pytest.approx(0)


def test_padding_is_no_candidate() -> None:
    scores = torch.zeros(2, 5)
    scores[:, 0] = 100
    assert losses.next_item(scores, torch.tensor([2, 3])).item() == pytest.approx(math.log(4))


def test_an_excluded_target_still_counts() -> None:
    everything = torch.ones(2, 5, dtype=torch.bool)
    assert losses.next_item(torch.randn(2, 5), torch.tensor([2, 3]), everything).item() == 0


def test_next_item_changes_none_of_its_inputs() -> None:
    scores, excluded = torch.randn(2, 5), torch.zeros(2, 5, dtype=torch.bool)
    kept = scores.clone()
    losses.next_item(scores, torch.tensor([2, 3]), excluded)
    assert torch.equal(scores, kept)
    assert not excluded.any()


def test_info_nce_equals_the_loop() -> None:
    false_negative = torch.rand(6, 4) < 0.3
    assert_equal_with_gradients(
        lambda p, n: losses.info_nce(p, n, false_negative),
        lambda p, n: reference.info_nce(p, n, false_negative),
        torch.randn(6, requires_grad=True),
        torch.randn(6, 4, requires_grad=True),
    )


def test_info_nce_of_equal_scores_is_the_log_of_all_candidates() -> None:
    loss = losses.info_nce(torch.ones(3), torch.ones(3, 7), torch.zeros(3, 7, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(8))


def test_info_nce_against_false_negatives_alone_is_0() -> None:
    loss = losses.info_nce(torch.zeros(3), torch.ones(3, 7), torch.ones(3, 7, dtype=torch.bool))
    assert loss.item() == 0


def test_next_item_and_info_nce_agree_on_all_items() -> None:
    scores, targets = torch.randn(4, 9), torch.tensor([1, 2, 3, 8])
    negative = scores[:, 1:]
    false_negative = torch.arange(1, 9) == targets.unsqueeze(1)
    positive = scores.gather(1, targets.unsqueeze(1)).squeeze(1)
    assert torch.allclose(
        losses.info_nce(positive, negative, false_negative), losses.next_item(scores, targets)
    )


@pytest.mark.parametrize("name", ["next_item", "info_nce", "bpr", "gbce"])
def test_a_position_counts_as_much_as_it_weighs(name: str) -> None:
    scores, targets, weights = (
        torch.randn(3, 9),
        torch.tensor([1, 5, 8]),
        torch.tensor([0, 0.5, 2.5]),
    )
    known = torch.zeros(3, 8, dtype=torch.bool)

    def loss(at: slice, weights: Tensor | None) -> Tensor:
        if name == "next_item":
            return losses.next_item(scores[at], targets[at], None, weights)
        more = (0.3, 0.75) if name == "gbce" else ()
        function = getattr(losses, name)
        found: Tensor = function(scores[at, 0], scores[at, 1:], known[at], *more, weights)
        return found

    each = torch.stack([loss(slice(p, p + 1), None) for p in range(3)])
    torch.testing.assert_close(loss(slice(None), weights), (each * weights).mean())
    torch.testing.assert_close(loss(slice(None), torch.ones(3)), loss(slice(None), None))


def test_balanced_loads_cost_nothing() -> None:
    assert losses.load_balance(torch.full((6, 3), 1 / 3)).item() == pytest.approx(0, abs=1e-10)
    swapped = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert losses.load_balance(swapped).item() == pytest.approx(0)


def test_a_collapsed_router_costs_the_number_of_outputs_less_one() -> None:
    weights = torch.zeros(6, 4)
    weights[:, 2] = 1
    assert losses.load_balance(weights).item() == pytest.approx(3)


def test_load_balance_is_the_squared_coefficient_of_variation() -> None:
    weights = torch.rand(8, 3, requires_grad=True)

    def naive(w: Tensor) -> Tensor:
        loads = [w[:, g].sum() for g in range(3)]
        mean = sum(loads) / 3
        return sum((load - mean) ** 2 for load in loads) / 3 / mean**2

    assert_equal_with_gradients(losses.load_balance, naive, weights)


def test_load_balance_of_no_weight_at_all_is_finite() -> None:
    assert losses.load_balance(torch.zeros(4, 3)).item() == 0


def test_load_balance_pushes_towards_the_idle_output() -> None:
    logits = torch.tensor([[2.0, 0.0]] * 5, requires_grad=True)
    losses.load_balance(logits.softmax(-1)).backward()
    assert (logits.grad[:, 0] > 0).all()


def test_alignment_equals_the_loop() -> None:
    present = torch.tensor([False, True, True, False, True, True])
    assert_equal_with_gradients(
        lambda a, b: losses.alignment(a, b, present, 0.3),
        lambda a, b: reference.alignment(a, b, present, 0.3),
        torch.randn(6, 4, requires_grad=True),
        torch.randn(6, 4, requires_grad=True),
    )


def test_alignment_of_matching_views_is_near_0_and_of_shuffled_ones_is_not() -> None:
    views, present = torch.eye(5), torch.ones(5, dtype=torch.bool)
    assert losses.alignment(views, 3 * views, present, 0.01).item() == pytest.approx(0, abs=1e-6)
    assert losses.alignment(views, views.roll(1, 0), present, 0.01).item() > 10


def test_alignment_ignores_items_that_lack_a_view() -> None:
    present = torch.tensor([True, True, True, False])
    left, right = torch.randn(4, 3), torch.randn(4, 3)
    before = losses.alignment(left, right, present, 0.1)
    left[3] = 1e3
    right[3] = torch.nan
    assert torch.equal(losses.alignment(left, right, present, 0.1), before)


@pytest.mark.parametrize("count", [0, 1])
def test_alignment_needs_two_items(count: int) -> None:
    present = torch.arange(4) < count
    left = torch.randn(4, 3, requires_grad=True)
    loss = losses.alignment(left, torch.randn(4, 3), present, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert not left.grad.any()


def test_losses_stay_finite_in_half_precision() -> None:
    scores = (30 * torch.randn(4, 50)).bfloat16()
    targets = torch.tensor([1, 2, 3, 4])
    assert torch.isfinite(losses.next_item(scores, targets))
    assert losses.next_item(scores, targets).dtype == torch.float32
    negative = torch.zeros(4, 50, dtype=torch.bool)
    assert torch.isfinite(losses.info_nce(scores[:, 1], scores, negative))
