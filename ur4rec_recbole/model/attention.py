"""Transformer blocks: the one kind of layer that the sequence encoder and the experts are made of.

Dimension legend for the whole package: B sequences, L positions, S context tokens, N items
(0 = padding), D hidden, H heads, M modalities, E sub-experts of each, K negatives, and P packed
positions: states are kept as [P, D] for the real positions alone, so that padding costs nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ur4rec_recbole.core.dropout import Dropout
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.products import Linear
from ur4rec_recbole.model.positions import Positions

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "swish": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of queries over a memory: softmax(q k' / sqrt(D / H)) v.

    Parameters
    ----------
    hidden_size
        D, a multiple of `n_heads`.
    n_heads
        H.
    dropout
        Probability of dropping an attention weight.

    Source: Vaswani et al. 2017, section 3.2; parameter for parameter RecBole's layer of that name.
    """

    def __init__(self, hidden_size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        if hidden_size % n_heads:
            raise InputError(
                "hidden_size", f"must be a multiple of the number of heads, {n_heads}", hidden_size,
                "Change one of them in the YAML file.",
            )  # fmt: skip
        self.n_heads = n_heads
        self.dropout = Dropout(dropout)
        self.query = Linear(hidden_size, hidden_size)
        self.key = Linear(hidden_size, hidden_size)
        self.value = Linear(hidden_size, hidden_size)
        self.dense = Linear(hidden_size, hidden_size)

    def forward(
        self,
        queries: Tensor,
        where: Positions,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        biases: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Attend from the queries to a memory, or causally to each other.

        Parameters
        ----------
        queries
            [P, D], the states of the P positions that are real.
        where
            The place of each query in [B, L].
        memory
            [B, S, D]; None for causal self-attention.
        mask
            [B, L, S] bool, True where a position may look; with a memory only.
        biases
            Of each group of `where`, with a memory of the whole, [b, H, l, S], added to the logits;
            S is l without a memory.

        Returns
        -------
        output
            [P, D].
        """
        source = queries if memory is None else memory
        key, value, query = self.key(source), self.value(source), self.query(queries)
        contexts, groups = [], where.groups if memory is None else [where.whole]
        for place, (_, states, places) in enumerate(groups):
            keys, values = key, value
            if memory is None:
                keys, values = places.unpack(key[states]), places.unpack(value[states])
            q, k, v = map(self._split, (places.unpack(query[states]), keys, values))
            context = self._attend(q, k, v, mask, biases[place] if biases else None)
            contexts.append(places.pack(context.transpose(1, 2).flatten(-2)))  # of [b, l, D]
        return self.dense(torch.cat(contexts))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """Return the context of each query; fused, but for dropout on the CPU, which has ours."""
        dropout = self.dropout.p if self.training else 0.0
        if dropout and query.device.type == "cpu":
            return self._attend_with_dropout(query, key, value, mask, bias)
        allowed = None if mask is None else mask.unsqueeze(1)
        if bias is not None:
            looks = _causal(query) if allowed is None else allowed
            allowed = bias.masked_fill(~looks, -torch.inf).to(query.dtype)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed, dropout_p=dropout, is_causal=allowed is None
        )

    def _attend_with_dropout(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        """Do what `scaled_dot_product_attention` does, with the faster dropout on the weights."""
        allowed = _causal(query) if mask is None else mask.unsqueeze(1)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # [B, H, L, S]
        if bias is not None:
            scores = scores + bias
        # Added, since a mask that fills is slow on [B, H, L, S].
        refused = torch.zeros_like(allowed, dtype=scores.dtype)
        scores = scores + refused.masked_fill_(~allowed, torch.finfo(scores.dtype).min)
        return self.dropout(scores.softmax(-1)) @ value

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # [B, H, L, D / H]


@dataclass(frozen=True)
class BlockConfig:
    """Sizes of a `TransformerBlock`.

    Attributes
    ----------
    hidden_size, n_heads, inner_size
        D, H, width of the feed-forward network.
    hidden_dropout, attn_dropout
        Probabilities, of dropping an output element and an attention weight.
    hidden_act
        One of `ACTIVATIONS`.
    layer_norm_eps
        Added to the variance.
    norm_first
        Pre-norm (Xiong et al. 2020) instead of post-norm.
    """

    hidden_size: int
    n_heads: int
    inner_size: int
    hidden_dropout: float
    attn_dropout: float
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    norm_first: bool = False

    def __post_init__(self) -> None:
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(
                "hidden_act",
                f"must be one of {sorted(ACTIVATIONS)}",
                repr(self.hidden_act),
                "Correct it in the YAML file.",
            )


class TransformerBlock(nn.Module):
    """Attention and a position-wise feed-forward network, each with residual and layer norm.

    Post-norm (RecBole, BERT): x = LN(x + f(x)); pre-norm: x = x + f(LN(x)).
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        hidden_size, eps = config.hidden_size, config.layer_norm_eps
        self.norm_first = config.norm_first
        self.attention = MultiHeadAttention(hidden_size, config.n_heads, config.attn_dropout)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=eps)
        self.dense_1 = Linear(hidden_size, config.inner_size)
        self.dense_2 = Linear(config.inner_size, hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=eps)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.dropout = Dropout(config.hidden_dropout)

    def forward(
        self,
        x: Tensor,
        where: Positions,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        biases: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Transform the states [P, D] at `where`; see `MultiHeadAttention` for the rest."""
        query = self.attention_norm(x) if self.norm_first else x
        x = x + self.dropout(self.attention(query, where, memory, mask, biases))
        if not self.norm_first:
            x = self.attention_norm(x)
        inner = self.feed_forward_norm(x) if self.norm_first else x
        x = x + self.dropout(self.dense_2(self.activation(self.dense_1(inner))))
        return x if self.norm_first else self.feed_forward_norm(x)


def _causal(query: Tensor) -> Tensor:
    """Return which position [L] may look at which [L], for queries [B, H, L, D / H]."""
    length = query.shape[2]
    return torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
