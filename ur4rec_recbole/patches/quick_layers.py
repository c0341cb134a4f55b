"""RecBole's sequential models, the same function in less time on a CPU: SASRec's in a third.

A benchmark spends most of its time on RecBole's own models. `quick_layers: True` changes how they
compute, not what, and leaves names and shapes of their parameters alone:

- The last layer is computed for the last item of each sequence only, where the model reads no other
  state (S3Rec's pretraining reads no other of three of its four sequences). RecBole computes all
  L states of every row and drops L - 1 of them.
- Sequences of similar length are computed together, without their padding, and so few at a time
  that what is computed stays in the processor's cache.
- GELU is one fused operation instead of five, and of ten in the backward pass.
- Dropout masks cost a byte per element (core/dropout.py).

tests/patches/test_quick_layers.py compares losses and gradients with the unchanged models'.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from recbole.model.layers import TransformerEncoder, TransformerLayer
from torch import Tensor, nn
from torch.nn import functional

from ur4rec_recbole.core.dropout import Dropout

# Encoders of which the model reads the last state of each sequence and nothing else; of S3Rec's in
# its pretraining see `as_pretraining_reads`.
LAST_STATE_READ = {
    "SASRec": ("trm_encoder",),
    "SASRecF": ("trm_encoder",),
    "FDSA": ("item_trm_encoder", "feature_trm_encoder"),
    "S3Rec": ("trm_encoder",),
}
# Models whose forward maps item_seq [B, L], and what else it takes, row by row to states of which
# nobody reads those of padding, [B, D] or [B, L, D].
ROW_BY_ROW = ("SASRec", "SASRecF", "FDSA", "GRU4Rec", "CORE", "BERT4Rec", "S3Rec")
ROWS_AT_A_TIME = 128


def speed_up(model: nn.Module, config: Any) -> None:
    """Change a RecBole model in place; unknown layers stay as they are, and so does all on a card.

    A card is the faster, the more rows it is given at once.
    """
    if config["device"].type != "cpu":
        return
    parent: Any
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p).train(child.training))
        if getattr(getattr(parent, "intermediate_act_fn", None), "__name__", "") == "gelu":
            parent.intermediate_act_fn = functional.gelu
    for name in LAST_STATE_READ.get(config["model"], ()):
        setattr(model, name, LastStateEncoder(getattr(model, name)))
    if config["model"] in ROW_BY_ROW:
        model.forward = by_length(model.forward)
    if config["model"] == "S3Rec" and config["train_stage"] == "pretrain":
        as_pretraining_reads(model)


def by_length(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a row-by-row `forward` see a few sequences of similar length at a time, unpadded.

    Its positional arguments are tensors of B rows, item_seq [B, L] the first; states of padding
    become 0.
    """

    @functools.wraps(forward)
    def grouped(item_seq: Tensor, *others: Tensor, **options: Any) -> Tensor:
        length = item_seq.shape[1]
        place = torch.arange(1, length + 1, device=item_seq.device)
        ends = ((item_seq != 0) * place).amax(1).clamp(min=1)
        order = ends.argsort()
        states = []
        for rows in order.split(ROWS_AT_A_TIME):
            end = int(ends[rows[-1]])
            state = forward(item_seq[rows, :end], *(each[rows] for each in others), **options)
            if state.dim() == 3:
                state = functional.pad(state, (0, 0, 0, length - end))
            states.append(state)
        return torch.cat(states)[order.argsort()]

    return grouped


def as_pretraining_reads(model: Any) -> None:
    """Let S3Rec's pretraining compute all states where it reads them: of sequences of masked items.

    Of the context and of both segments it reads the last state.
    """
    pretrain, forward = model.pretrain, model.forward

    @functools.wraps(pretrain)
    def quick(features: Tensor, masked_item_sequence: Tensor, *others: Tensor) -> Tensor:
        def encode(item_seq: Tensor, **options: Any) -> Tensor:
            model.trm_encoder.all_states = item_seq is masked_item_sequence
            return forward(item_seq, **options)

        model.forward = encode
        return pretrain(features, masked_item_sequence, *others)

    model.pretrain = quick


class LastStateEncoder(nn.Module):
    """RecBole's `TransformerEncoder`, its last layer for the last item of each sequence alone.

    Parameters
    ----------
    encoder
        Whose layers are used.

    Attributes
    ----------
    all_states
        Compute the other states too, as RecBole does.
    """

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.layer = encoder.layer
        self.all_states = False

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, output_all_encoded_layers: bool = True
    ) -> list[Tensor]:
        """Return a list of one [B, L, D]; without `all_states` zero but at each last item.

        Parameters
        ----------
        hidden_states
            [B, L, D].
        attention_mask
            [B, 1, L, L], causal, or [B, 1, 1, L]: 0 where a position may look and very negative
            elsewhere.
        output_all_encoded_layers
            Not used: the models here read the last layer only.
        """
        for layer in self.layer[:-1]:
            hidden_states = layer(hidden_states, attention_mask)
        if self.all_states:
            return [self.layer[-1](hidden_states, attention_mask)]
        place = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        last = ((attention_mask[:, 0, -1] == 0) * place).amax(-1)  # [B]
        state = last_state(self.layer[-1], hidden_states, attention_mask, last)
        index = last[:, None, None].expand_as(state)
        return [torch.zeros_like(hidden_states).scatter(1, index, state)]


def last_state(layer: TransformerLayer, hidden: Tensor, mask: Tensor, last: Tensor) -> Tensor:
    """Compute one state of a layer, [B, 1, D], at the positions `last` [B] of [B, L, D]."""
    attention, row = layer.multi_head_attention, torch.arange(len(last), device=last.device)
    own = hidden[row, last].unsqueeze(1)  # [B, 1, D]
    query = attention.transpose_for_scores(attention.query(own)).permute(0, 2, 1, 3)
    key = attention.transpose_for_scores(attention.key(hidden)).permute(0, 2, 3, 1)
    value = attention.transpose_for_scores(attention.value(hidden)).permute(0, 2, 1, 3)
    scores = query @ key / attention.sqrt_attention_head_size  # [B, H, 1, L]
    scores = scores + mask.expand(-1, -1, hidden.shape[1], -1)[row, :, last].unsqueeze(2)
    context = attention.attn_dropout(attention.softmax(scores)) @ value  # [B, H, 1, D / H]
    context = attention.out_dropout(attention.dense(context.transpose(1, 2).flatten(2)))
    return layer.feed_forward(attention.LayerNorm(context + own))
