"""Dropout from bytes: torch's dropout in expectation, and nothing at all outside training."""

import pytest
import torch

from ur4rec_recbole.core.dropout import Dropout
from ur4rec_recbole.model.attention import MultiHeadAttention
from ur4rec_recbole.model.positions import Positions


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_as_many_elements_are_dropped_as_asked_and_the_rest_scaled(p: float) -> None:
    found = Dropout(p)(torch.ones(1000, 1000))
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert found.mean().item() == pytest.approx(1, abs=0.02)
    assert len(found.unique()) == 2


def test_elements_are_dropped_independently() -> None:
    kept = (Dropout(0.5)(torch.ones(200_000)) > 0).float() - 0.5
    for lag in range(1, 17):  # eight bytes come from one draw
        assert abs((kept[lag:] * kept[:-lag]).mean().item() * 4) < 0.02


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 9), (0, 4)])
def test_any_shape_is_kept(shape: tuple[int, ...]) -> None:
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("p", [0.0, 1e-4])
def test_next_to_no_probability_drops_nothing(p: float) -> None:
    x = torch.randn(50, 50)
    assert torch.equal(Dropout(p)(x), x)


@pytest.mark.parametrize("p", [1.0, 0.9999])
def test_next_to_certain_probability_drops_everything(p: float) -> None:
    x = torch.randn(5, 5, requires_grad=True)
    found = Dropout(p)(x)
    assert not found.any()
    assert not torch.isnan(found).any()


def test_evaluation_drops_nothing() -> None:
    x = torch.randn(5, 5)
    assert Dropout(0.5).eval()(x) is x


def test_gradients_pass_where_elements_do() -> None:
    x = torch.ones(100, requires_grad=True)
    found = Dropout(0.5)(x)
    found.sum().backward()
    assert torch.equal(x.grad, found.detach())


def test_the_seed_decides_the_mask() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(Dropout(0.5)(torch.ones(64)))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_half_precision_stays_half_precision() -> None:
    assert Dropout(0.5)(torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_a_dropout_of_nothing_equals_attention_without(masked: bool) -> None:
    attention = MultiHeadAttention(8, 2, 1e-4)  # rounds to dropping nothing
    where = Positions(torch.tensor([[True, True, True], [True, False, False]]))
    x, memory, mask = torch.randn(4, 8), None, None
    if masked:
        memory, mask = torch.randn(2, 5, 8), torch.rand(2, 3, 5) < 0.5
        mask[..., 0] = True
    direction = torch.randn(4, 8)
    outputs, gradients = [], []
    for mode in (True, False):
        output = attention.train(mode)(x, where, memory, mask)
        outputs.append(output)
        gradients.append(
            torch.autograd.grad((output * direction).sum(), list(attention.parameters()))
        )
    assert torch.allclose(outputs[0], outputs[1], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))
