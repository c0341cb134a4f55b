"""Products by rows: the same numbers, and few shapes."""

import pytest
import torch
from torch import nn

from ur4rec_recbole.core.products import STEP, Linear, by_rows


def both(inputs, hidden_size=8):
    """Return our layer and torch's with the same weights, and outputs and gradients of each."""
    ours, theirs = Linear(inputs.shape[-1], hidden_size), nn.Linear(inputs.shape[-1], hidden_size)
    theirs.load_state_dict(ours.state_dict())
    made = []
    for layer in (ours, theirs):
        x = inputs.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x)
        output.float().square().sum().backward()
        made.append((output, x.grad, layer.weight.grad, layer.bias.grad))
    return made


@pytest.mark.parametrize("shape", [(1, 4), (63, 4), (64, 4), (65, 4), (3, 5, 4), (0, 4)])
def test_a_layer_gives_the_outputs_and_gradients_of_torchs(shape):
    torch.manual_seed(0)
    ours, theirs = both(torch.randn(shape))
    assert ours[0].shape == theirs[0].shape
    assert ours[0].dtype == torch.bfloat16
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


def test_rows_are_padded_to_a_few_numbers_under_bfloat16_alone():
    seen = set()

    def note(x):
        seen.add(len(x))
        return x

    with torch.autocast("cpu", torch.bfloat16):
        for n in range(1, 3 * STEP):
            assert len(by_rows(note, torch.ones(n, 2))) == n
    assert seen == {STEP, 2 * STEP, 3 * STEP}
    seen.clear()
    by_rows(note, torch.ones(5, 2))
    assert seen == {5}
