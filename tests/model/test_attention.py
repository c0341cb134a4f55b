"""Transformer blocks: attention over a memory and over earlier positions, one query at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import reference
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model.attention import (
    ACTIVATIONS,
    BlockConfig,
    MultiHeadAttention,
    TransformerBlock,
)
from ur4rec_recbole.model.positions import Positions

D = 8


def block(**settings: Any) -> TransformerBlock:
    values = {
        "hidden_size": D,
        "n_heads": 2,
        "inner_size": 12,
        "hidden_dropout": 0.0,
        "attn_dropout": 0.0,
    }
    made = TransformerBlock(BlockConfig(**values | settings))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def grid(*lengths: int) -> torch.Tensor:
    """Mask [B, L] of right-padded rows."""
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("act", sorted(ACTIVATIONS))
def test_causal_block_equals_one_query_at_a_time(norm_first: bool, act: str) -> None:
    made, where = block(norm_first=norm_first, hidden_act=act), grid(4, 1, 3)
    x = torch.randn(int(where.sum()), D)
    expected, start = [], 0
    for length in (4, 1, 3):
        own = x[start : start + length]
        seen = made.attention_norm(own) if norm_first else own
        expected += [reference.transform(made, own[t], list(seen[: t + 1])) for t in range(length)]
        start += length
    assert torch.allclose(made(x, Positions(where)), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_cross_block_equals_one_query_at_a_time(norm_first: bool) -> None:
    made, where = block(norm_first=norm_first), grid(3, 2)
    x, memory = torch.randn(5, D), torch.randn(2, 6, D)
    mask = torch.rand(2, 3, 6) < 0.5
    mask[..., 0] = True
    expected = [
        reference.transform(made, x[p], list(memory[b][mask[b, t]]))
        for p, (b, t) in enumerate(where.nonzero().tolist())
    ]
    assert torch.allclose(made(x, Positions(where), memory, mask), torch.stack(expected), atol=1e-5)


def test_a_hidden_size_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of the number of heads, 3"):
        MultiHeadAttention(D, 3, 0.0)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InputError, match="hidden_act.*'step'"):
        block(hidden_act="step")


def test_dropout_acts_in_training_only() -> None:
    made, where, x = block(hidden_dropout=0.5, attn_dropout=0.5), grid(4), torch.randn(4, D)
    assert not torch.equal(made.train()(x, Positions(where)), made(x, Positions(where)))
    assert torch.equal(made.eval()(x, Positions(where)), made(x, Positions(where)))


def test_a_sequence_alone_is_transformed_as_in_a_batch_with_padding() -> None:
    made, x = block().eval(), torch.randn(7, D)
    where = torch.arange(4) < torch.tensor([[4], [3]])
    torch.testing.assert_close(made(x[:4], Positions(where[:1])), made(x, Positions(where))[:4])


def test_off_the_cpu_attention_with_dropout_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No card is at hand; a meta tensor has a device of its own too."""
    asked = {}

    def fused(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        asked.update(options)
        return query

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", fused)
    attention = MultiHeadAttention(8, 2, 0.25).train()
    query = torch.empty(3, 2, 5, 4, device="meta")
    attention._attend(query, query, query, None, None)
    assert asked == {"attn_mask": None, "dropout_p": 0.25, "is_causal": True}
    attention.eval()._attend(query, query, query, None, None)
    assert asked["dropout_p"] == 0
