"""Routers and experts: what is absent weighs nothing, and loops give the same numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import reference
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model.attention import BlockConfig
from ur4rec_recbole.model.experts import (
    Context,
    ExpertConfig,
    HierarchicalMoE,
    ModalityMoE,
    Router,
    RouterConfig,
)
from ur4rec_recbole.model.positions import Positions

D = 8
WIDTHS = {"profile": 3, "text": 5, "image": 4}


def block(**settings: Any) -> BlockConfig:
    return BlockConfig(D, 2, 12, 0.0, 0.0, **settings)


def sizes(n_sub_experts: int = 3, n_layers: int = 1, top_k: int = 0, **settings: Any) -> Any:
    return ExpertConfig(n_sub_experts, n_layers, 2, block(**settings), RouterConfig(top_k=top_k))


def spread(module: torch.nn.Module) -> Any:
    """Give a module weights large enough for differences to show."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def contexts(where: Tensor, image: bool = True) -> dict[str, Context]:
    """Random context: each token is known to about half of the positions, some to none."""
    n_batch, n_positions = where.shape
    found = {}
    for name, width in WIDTHS.items():
        mask = torch.rand(n_batch, n_positions, 4) < 0.5
        mask[0, 0] = name == "text"  # a position that knows a text alone
        mask[0, 1] = False  # and one that knows nothing
        if name == "image" and not image:
            mask[:] = False
        found[name] = Context(torch.randn(n_batch, 4, width), mask)
    return found


WHERE = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])


def router(n_outputs: int = 4, **settings: Any) -> Router:
    return spread(Router(D, n_outputs, RouterConfig(**settings)))


def test_router_ignores_a_missing_modality() -> None:
    present = torch.rand(50, 4) < 0.6
    weights = router()(torch.randn(50, D), present)
    assert not weights[~present].any()
    assert (weights[present] > 0).all()


def test_present_weights_sum_to_1() -> None:
    present = torch.rand(50, 4) < 0.6
    weights = router()(torch.randn(50, D), present)
    some = present.any(-1)
    assert not some.all()
    assert torch.allclose(weights[some].sum(-1), torch.ones(int(some.sum())))


def test_router_gives_nothing_where_all_are_absent() -> None:
    weights = router()(torch.randn(5, D), torch.zeros(5, 4, dtype=torch.bool))
    assert torch.equal(weights, torch.zeros(5, 4))


def test_a_missing_modality_changes_only_the_sum_of_the_others() -> None:
    gate, x = router(), torch.randn(20, D)
    whole = gate(x)
    present = torch.tensor([True, True, False, True]).expand(20, -1)
    rest = whole * present
    assert torch.allclose(gate(x, present), rest / rest.sum(-1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_top_k_keeps_the_k_largest(k: int) -> None:
    gate, x = router(top_k=k), torch.randn(30, D)
    weights = gate(x)
    assert ((weights > 0).sum(-1) == k).all()
    assert torch.allclose(weights.sum(-1), torch.ones(30))
    largest = gate.gate(x).topk(k).indices
    assert (weights.gather(-1, largest) > 0).all()


def test_top_k_never_keeps_an_absent_output() -> None:
    present = torch.rand(60, 4) < 0.3
    weights = router(top_k=2)(torch.randn(60, D), present)
    assert torch.equal((weights > 0).sum(-1), present.sum(-1).clamp(max=2))
    assert not weights[~present].any()


@pytest.mark.parametrize("k", [-1, 1, 5])
def test_a_top_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=rf"top_k must be in \[2, 4\].*Received {k}"):
        Router(D, 4, RouterConfig(top_k=k))


def test_temperature_flattens_and_sharpens() -> None:
    x = torch.randn(20, D)
    gates = {t: Router(D, 4, RouterConfig(temperature=t)) for t in (0.1, 1.0, 10.0)}
    for gate in gates.values():
        gate.gate.load_state_dict(gates[1.0].gate.state_dict())
    largest = {t: gate(x).max(-1).values for t, gate in gates.items()}
    assert (largest[0.1] > largest[1.0]).all()
    assert (largest[1.0] > largest[10.0]).all()


def test_noise_acts_in_training_only() -> None:
    gate, x = router(noise=1.0), torch.randn(20, D)
    assert not torch.equal(gate.train()(x), gate(x))
    assert torch.equal(gate.eval()(x), gate(x))
    assert torch.allclose(gate(x), gate.gate(x).softmax(-1))


def test_router_equals_the_naive_one() -> None:
    present = torch.rand(30, 4) < 0.6
    for settings in ({}, {"temperature": 0.5}, {"top_k": 2}):
        gate, x = router(**settings), torch.randn(30, D)
        expected = [
            torch.stack(reference.route(gate, x[p], present[p].tolist())) for p in range(30)
        ]
        assert torch.allclose(gate(x, present), torch.stack(expected), atol=1e-6)


def gradients(loss: Tensor, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return {
        name: torch.zeros_like(value) if grad is None else grad
        for (name, value), grad in zip(wanted.items(), found, strict=True)
    }


def assert_same_gradients(ours: Tensor, naive: Tensor, wanted: dict[str, Tensor]) -> None:
    direction = torch.randn_like(ours)
    found = gradients((ours * direction).sum(), wanted)
    expected = gradients((naive * direction).sum(), wanted)
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=1.0)
        assert torch.allclose(found[name] / scale, value / scale, atol=2e-5), name
    assert any(value.any() for value in expected.values())


@pytest.mark.parametrize(
    ("n_sub_experts", "top_k", "n_layers", "norm_first"),
    [(1, 0, 2, False), (3, 0, 1, False), (3, 0, 2, True), (3, 2, 1, True), (4, 2, 1, False)],
)
def test_mixture_equals_position_by_position_loops(
    n_sub_experts: int, top_k: int, n_layers: int, norm_first: bool
) -> None:
    config = sizes(n_sub_experts, n_layers, top_k, norm_first=norm_first)
    moe = spread(HierarchicalMoE(WIDTHS, config, RouterConfig(temperature=0.7)))
    h = torch.randn(int(WHERE.sum()), D, requires_grad=True)
    known = contexts(WHERE)
    ours, routes = moe(h, Positions(WHERE), known)
    naive, modal = reference.hierarchical_moe(moe, h, WHERE, known)
    assert torch.allclose(ours, naive, atol=1e-5)
    assert torch.allclose(routes.modal, modal, atol=1e-6)
    assert_same_gradients(ours, naive, {"h": h, **dict(moe.named_parameters())})


@pytest.mark.parametrize("top_k", [0, 2])
def test_one_modality_equals_position_by_position_loops(top_k: int) -> None:
    moe = spread(ModalityMoE(5, sizes(top_k=top_k)))
    h = torch.randn(int(WHERE.sum()), D, requires_grad=True)
    context = contexts(WHERE)["text"]
    ours, weights = moe(h, Positions(WHERE), context)
    naive, expected = [], []
    for p, (b, t) in enumerate(WHERE.nonzero().tolist()):
        known = list(context.tokens[b][context.mask[b, t]])
        mixed, weight = reference.modality_moe(moe, h[p], known)
        naive.append(mixed)
        expected.append(torch.stack(weight))
    assert torch.allclose(ours, torch.stack(naive), atol=1e-5)
    assert torch.allclose(weights, torch.stack(expected), atol=1e-6)
    assert_same_gradients(ours, torch.stack(naive), {"h": h, **dict(moe.named_parameters())})


@pytest.mark.parametrize("top_k", [0, 2])
def test_top_k_computes_no_position_that_did_not_choose_the_expert(top_k: int) -> None:
    moe = spread(ModalityMoE(5, sizes(top_k=top_k)))
    computed = []
    for expert in moe.experts:
        expert.register_forward_pre_hook(lambda _, inputs: computed.append(len(inputs[0])))
    h = torch.randn(int(WHERE.sum()), D)
    _, weights = moe(h, Positions(WHERE), contexts(WHERE)["text"])
    assert sum(computed) == len(h) * (top_k or 3)
    assert computed == [n for n in (weights > 0).sum(0).tolist() if n]


def test_an_expert_that_no_position_chose_is_not_called() -> None:
    moe = spread(ModalityMoE(5, sizes(top_k=2)))
    torch.nn.init.zeros_(moe.router.gate.weight)
    moe.router.gate.bias.data = torch.tensor([9.0, 0.0, 8.0])
    calls = []
    for e, expert in enumerate(moe.experts):
        expert.register_forward_pre_hook(lambda _, inputs, e=e: calls.append(e))
    moe(torch.randn(int(WHERE.sum()), D), Positions(WHERE), contexts(WHERE)["text"])
    assert calls == [0, 2]


def test_an_absent_modality_is_masked_and_not_computed() -> None:
    moe = spread(HierarchicalMoE(WIDTHS, sizes(), RouterConfig()))
    calls = []
    moe.modalities["image"].register_forward_pre_hook(lambda *_: calls.append(1))
    h = torch.randn(int(WHERE.sum()), D)
    _, routes = moe(h, Positions(WHERE), contexts(WHERE, image=False))
    assert not calls
    assert not routes.modal[:, 2].any()
    assert not routes.sub[:, 2].any()
    assert routes.modal[:, :2].any()


def test_a_position_that_knows_nothing_keeps_its_state() -> None:
    moe = spread(HierarchicalMoE(WIDTHS, sizes(), RouterConfig()))
    h = torch.randn(int(WHERE.sum()), D)
    r, routes = moe(h, Positions(WHERE), contexts(WHERE))
    assert not routes.modal[1].any()
    assert torch.allclose(r[1], moe.output_norm(h[1]), atol=1e-6)


def test_masked_tokens_change_nothing() -> None:
    moe = spread(HierarchicalMoE(WIDTHS, sizes(), RouterConfig()))
    h = torch.randn(int(WHERE.sum()), D)
    known = contexts(WHERE)
    for context in known.values():
        context.mask[..., 3] = False
    before, _ = moe(h, Positions(WHERE), known)
    for context in known.values():
        context.tokens[:, 3] = 1e3
    assert torch.equal(moe(h, Positions(WHERE), known)[0], before)


def test_a_flat_mixture_has_no_sub_router() -> None:
    moe = HierarchicalMoE(WIDTHS, sizes(n_sub_experts=1), RouterConfig())
    assert all(module.router is None for module in moe.modalities.values())
    _, routes = moe(torch.randn(int(WHERE.sum()), D), Positions(WHERE), contexts(WHERE))
    assert torch.equal(routes.sub, torch.ones(int(WHERE.sum()), 3, 1))


def test_a_mixture_without_proxy_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="n_proxy_tokens must be at least 1"):
        ExpertConfig(3, 1, 0, block(), RouterConfig())


def test_a_sub_router_top_k_above_the_experts_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[2, 3\].*Received 4"):
        ModalityMoE(5, sizes(top_k=4))
