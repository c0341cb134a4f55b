"""Fusion: weights mean the same whatever the scales, and gates start where they are told."""

import pytest
import torch

from ur4rec_recbole.model.fusion import GatedFusion, WeightedFusion, standardise

H = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
SEQUENCE = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
RETRIEVAL = 9 * torch.randn(6, 12, generator=torch.Generator().manual_seed(2)) + 4


def test_standardise_gives_mean_0_and_deviation_1_over_items_without_padding() -> None:
    scores = SEQUENCE.clone()
    scores[:, 0] = 1e4
    found = standardise(scores)[:, 1:]
    assert torch.allclose(found.mean(-1), torch.zeros(6), atol=1e-5)
    assert torch.allclose(found.std(-1, unbiased=False), torch.ones(6), atol=1e-4)


def test_standardise_keeps_equal_scores_finite() -> None:
    assert torch.isfinite(standardise(torch.ones(2, 5))).all()


def test_weights_are_those_of_the_two_scores() -> None:
    fused = WeightedFusion((0.4, 0.6), 4.0)(H, SEQUENCE, RETRIEVAL)
    expected = 4.0 * (0.4 * standardise(SEQUENCE) + 0.6 * standardise(RETRIEVAL))
    assert torch.allclose(fused, expected, atol=1e-5)


@pytest.mark.parametrize(("weights", "kept"), [((1.0, 0.0), SEQUENCE), ((0.0, 1.0), RETRIEVAL)])
def test_a_weight_of_0_leaves_the_other_scores_ranking(
    weights: tuple[float, float], kept: torch.Tensor
) -> None:
    fused = WeightedFusion(weights, 4.0)(H, SEQUENCE, RETRIEVAL)
    assert torch.equal(fused.argsort(-1), kept.argsort(-1))


@pytest.mark.parametrize("gated", [False, True])
def test_the_scale_of_a_score_does_not_matter(gated: bool) -> None:
    fusion = GatedFusion(8, (0.4, 0.6), 4.0) if gated else WeightedFusion((0.4, 0.6), 4.0)
    fused = fusion(H, SEQUENCE, RETRIEVAL)
    assert torch.allclose(fusion(H, 50 * SEQUENCE + 3, RETRIEVAL), fused, atol=1e-3)


@pytest.mark.parametrize("weights", [(0.4, 0.6), (1.0, 3.0), (0.9, 0.1)])
def test_a_gate_starts_at_the_weight_of_the_retrieval_score(weights: tuple[float, float]) -> None:
    fusion = GatedFusion(8, weights, 4.0)
    torch.nn.init.normal_(fusion.gate.weight, std=1e-6)
    torch.nn.init.zeros_(fusion.gate.bias)
    share = weights[1] / sum(weights)
    expected = 4.0 * ((1 - share) * standardise(SEQUENCE) + share * standardise(RETRIEVAL))
    assert torch.allclose(fusion(H, SEQUENCE, RETRIEVAL), expected, atol=1e-3)


def test_a_gate_may_start_all_the_way_open() -> None:
    fused = GatedFusion(8, (0.0, 1.0), 4.0)(H, SEQUENCE, RETRIEVAL)
    assert torch.isfinite(fused).all()


def test_a_gate_follows_the_state() -> None:
    fusion = GatedFusion(8, (0.5, 0.5), 1.0)
    for parameter in (fusion.hidden.weight, fusion.gate.weight):
        torch.nn.init.normal_(parameter, std=2.0)
    same = SEQUENCE[:1].expand(6, -1), RETRIEVAL[:1].expand(6, -1)
    assert fusion(H, *same).std(0).max() > 0.1


@pytest.mark.parametrize("gated", [False, True])
def test_gradients_reach_both_scores_and_every_parameter(gated: bool) -> None:
    fusion = GatedFusion(8, (0.4, 0.6), 4.0) if gated else WeightedFusion((0.4, 0.6), 4.0)
    h, sequence, retrieval = (x.clone().requires_grad_() for x in (H, SEQUENCE, RETRIEVAL))
    fusion(h, sequence, retrieval).logsumexp(-1).sum().backward()
    assert sequence.grad.any()
    assert retrieval.grad.any()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
