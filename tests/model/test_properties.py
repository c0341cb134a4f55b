"""What holds for any numbers: routers, masks and losses."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests import reference
from tests.properties import few
from ur4rec_recbole.model import losses
from ur4rec_recbole.model.attention import BlockConfig
from ur4rec_recbole.model.encoder import SequenceEncoder
from ur4rec_recbole.model.experts import (
    Context,
    ExpertConfig,
    HierarchicalMoE,
    Router,
    RouterConfig,
)
from ur4rec_recbole.model.positions import Positions

D = 4
seeds = st.integers(0, 2**31)
scales = st.sampled_from([1e-3, 1.0, 30.0, 1e4])


@st.composite
def routed(draw: Any, least: int = 2) -> tuple[Router, Tensor, Tensor]:
    """A router of any size and temperature, states of any scale, any presence."""
    torch.manual_seed(draw(seeds))
    n_outputs = draw(st.integers(least, 6))
    top_k = draw(st.sampled_from([0, *range(2, n_outputs + 1)]))
    temperature = draw(st.sampled_from([0.01, 1.0, 100.0]))
    router = Router(D, n_outputs, RouterConfig(temperature, top_k=top_k))
    return router, draw(scales) * torch.randn(12, D), torch.rand(12, n_outputs) < 0.5


@few
@given(routed())
def test_routes_sum_to_1_over_what_is_present_and_are_0_elsewhere(
    made: tuple[Router, Tensor, Tensor],
) -> None:
    router, states, present = made
    weights = router(states, present)
    assert (weights >= 0).all()
    assert not weights[~present].any()
    assert torch.allclose(weights.sum(-1), present.any(-1).float(), atol=1e-5)


@few
@given(routed())
def test_top_k_keeps_at_most_k_and_none_that_is_absent(
    made: tuple[Router, Tensor, Tensor],
) -> None:
    router, states, present = made
    limit = router.config.top_k or present.shape[1]
    weights = router(states, present)
    assert ((weights > 0).sum(-1) <= present.sum(-1).clamp(max=limit)).all()


@few
@given(routed())
def test_a_kept_route_never_weighs_less_than_one_of_a_smaller_logit(
    made: tuple[Router, Tensor, Tensor],
) -> None:
    router, states, present = made
    logits = router.gate(states).masked_fill(~present, -torch.inf)
    weights = router(states, present).gather(-1, logits.argsort(dim=-1, descending=True))
    assert (weights.diff(dim=-1) <= 1e-6).all()


def block(norm_first: bool = False) -> BlockConfig:
    return BlockConfig(D, 2, 8, 0.0, 0.0, norm_first=norm_first)


@few
@given(seeds, st.integers(1, 6), st.integers(0, 5), st.booleans())
def test_a_state_of_the_encoder_depends_on_no_later_item(
    seed: int, length: int, place: int, norm_first: bool
) -> None:
    torch.manual_seed(seed)
    encoder = SequenceEncoder(2, 6, block(norm_first)).eval()
    where = torch.ones(1, length, dtype=torch.bool)
    place %= length
    items = torch.randn(length, D)
    changed = items.clone()
    changed[place:] += torch.randn(length - place, D)
    before, after = encoder(items, Positions(where)), encoder(changed, Positions(where))
    assert torch.allclose(before[:place], after[:place], atol=1e-5)
    assert not torch.allclose(before[place:], after[place:], atol=1e-5)


@few
@given(seeds, st.integers(1, 5), st.integers(1, 4))
def test_padding_and_other_rows_change_no_state(seed: int, length: int, more: int) -> None:
    torch.manual_seed(seed)
    encoder = SequenceEncoder(1, 9, block()).eval()
    items = torch.randn(length, D)
    alone = encoder(items, Positions(torch.ones(1, length, dtype=torch.bool)))
    where = torch.zeros(2, length + more, dtype=torch.bool)
    where[0, :length] = where[1] = True
    beside = encoder(torch.cat([items, torch.randn(length + more, D)]), Positions(where))[:length]
    assert torch.allclose(alone, beside, atol=1e-5)


@few
@given(seeds, st.integers(1, 3), st.sampled_from([0, 2]))
def test_tokens_that_are_masked_change_nothing(seed: int, n_layers: int, top_k: int) -> None:
    torch.manual_seed(seed)
    sizes = ExpertConfig(3, n_layers, 2, block(), RouterConfig(top_k=top_k))
    experts = HierarchicalMoE({"text": 3, "image": 2}, sizes, RouterConfig()).eval()
    where = torch.rand(2, 3) < 0.8
    where[:, 0] = True
    masks = {name: torch.rand(2, 3, 4) < 0.5 for name in ("text", "image")}
    tokens = {"text": torch.randn(2, 4, 3), "image": torch.randn(2, 4, 2)}
    h = torch.randn(int(where.sum()), D)
    before = _mixed(experts, h, where, tokens, masks)
    for name, mask in masks.items():
        hidden = ~mask.any(1)  # [B, S] tokens that no position may look at
        tokens[name] = torch.where(hidden.unsqueeze(-1), 1e3, tokens[name])
    after = _mixed(experts, h, where, tokens, masks)
    assert torch.allclose(before, after, atol=1e-5)


def _mixed(experts: HierarchicalMoE, h: Tensor, where: Tensor, tokens: Any, masks: Any) -> Tensor:
    contexts = {name: Context(tokens[name], masks[name]) for name in tokens}
    return experts(h, Positions(where), contexts)[0]


@st.composite
def scored(draw: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [P, N] of any scale, targets [P] and what is excluded [P, N]."""
    torch.manual_seed(draw(seeds))
    n_items = draw(st.integers(3, 9))
    scores = draw(st.sampled_from([0.0, 1.0, 20.0])) * torch.randn(5, n_items)
    return scores, torch.randint(1, n_items, (5,)), torch.rand(5, n_items) < 0.4


@few
@given(scored())
def test_softmax_equals_the_loop(made: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, targets, excluded = made
    for mask in (None, excluded):
        found = losses.next_item(scores, targets, mask)
        assert torch.allclose(found, reference.next_item(scores, targets, mask), atol=1e-4)
        assert found >= 0


@few
@given(scored())
def test_what_is_excluded_and_the_padding_have_no_say_in_softmax(
    made: tuple[Tensor, Tensor, Tensor],
) -> None:
    scores, targets, excluded = made
    before = losses.next_item(scores, targets, excluded)
    silent = excluded.scatter(1, targets.unsqueeze(1), False)
    silent[:, 0] = True
    changed = scores + 50 * silent * torch.randn_like(scores)
    assert torch.allclose(before, losses.next_item(changed, targets, excluded), atol=1e-5)


SAMPLED = {
    "info_nce": losses.info_nce,
    "bpr": losses.bpr,
    "gbce": lambda positive, negative, false: losses.gbce(positive, negative, false, 0.3, 0.75),
}


@few
@given(scored(), st.sampled_from(sorted(SAMPLED)))
def test_sampled_losses_ignore_false_negatives(
    made: tuple[Tensor, Tensor, Tensor], name: str
) -> None:
    negative, _, false = made
    positive = torch.randn(5, requires_grad=True)
    negative.requires_grad_()
    loss = SAMPLED[name](positive, negative, false)
    changed = negative + 50 * false * torch.randn_like(negative)
    assert torch.allclose(loss, SAMPLED[name](positive, changed, false), atol=1e-5)
    [gradient] = torch.autograd.grad(loss, negative)
    assert not gradient[false].any()
    assert loss.isfinite()
    assert loss >= 0


@few
@given(scored(), st.sampled_from(sorted(SAMPLED)))
def test_a_better_target_never_costs_more(made: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    negative, _, false = made
    positive = torch.randn(5)
    better = SAMPLED[name](positive + 1, negative, false)
    assert better <= SAMPLED[name](positive, negative, false) + 1e-6
