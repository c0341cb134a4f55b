"""SequenceEncoder: SASRec, giving a state at every position instead of the last one alone."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ur4rec_recbole.core.dropout import Dropout
from ur4rec_recbole.model.attention import BlockConfig, TransformerBlock
from ur4rec_recbole.model.positions import Positions
from ur4rec_recbole.model.time_intervals import TimeIntervals


class SequenceEncoder(nn.Module):
    """Causal self-attention over a user's items: h_t depends on items 1..t.

    Sequences are padded on the right, as RecBole pads them, so the causal mask alone keeps padding
    out of every real position.

    Parameters
    ----------
    n_layers
        Number of transformer blocks.
    max_seq_length
        L, the number of learned positions.
    block
        Sizes of a block.
    time_intervals, request_time
        Whether the times of the interactions are read, and of the request, too.

    Source: Kang and McAuley 2018, section III, with BERT's feed-forward network as in RecBole.
    """

    def __init__(
        self,
        n_layers: int,
        max_seq_length: int,
        block: BlockConfig,
        time_intervals: bool = False,
        request_time: bool = False,
    ) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(max_seq_length, block.hidden_size)
        self.input_norm = nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps)
        self.dropout = Dropout(block.hidden_dropout)
        self.blocks = nn.ModuleList(TransformerBlock(block) for _ in range(n_layers))
        self.intervals = None
        if time_intervals or request_time:
            sizes = (block.hidden_size, n_layers, block.n_heads)
            self.intervals = TimeIntervals(*sizes, request_time)
        self.output_norm = (
            nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps)
            if block.norm_first
            else nn.Identity()
        )

    def forward(
        self,
        item_emb: Tensor,
        where: Positions,
        times: Tensor | None = None,
        requests: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Encode items into states [P, D], or into the last one of each sequence, [B, D].

        Parameters
        ----------
        item_emb
            [P, D], the embeddings of the items.
        where
            Their places in [B, L].
        times, requests
            [B, L] float64 seconds, of the interactions and of the request that follows each; only
            where they are read.
        last_only
            Whether the last block computes the last state of each sequence alone; then none may be
            empty, and all are one group.
        """
        x = item_emb + self.position_embedding.weight.index_select(0, where.place)
        biases: list[Sequence[Tensor] | None] = [None] * len(self.blocks)
        if self.intervals is not None:
            intervals, biases[:] = self.intervals(times, where, requests)
            x = x + intervals
        x = self.dropout(self.input_norm(x))
        *earlier, (block, last) = zip(self.blocks, biases, strict=True)
        for each, its_own in earlier:
            x = each(x, where, biases=its_own)
        x = _last_states(block, x, where, last) if last_only else block(x, where, biases=last)
        return self.output_norm(x)


def _last_states(
    block: Any, x: Tensor, where: Positions, biases: Sequence[Tensor] | None
) -> Tensor:
    """Return what a block makes of the last state of each sequence, [B, D].

    Keys and values are of all states; the query and all that follows are of the last one.
    """
    last = where.last
    if biases is not None:
        (bias,) = biases
        place = where.place[last].view(-1, 1, 1, 1).expand(-1, bias.shape[1], 1, bias.shape[3])
        biases = [bias.gather(2, place)]  # [B, H, 1, L]
    memory = block.attention_norm(x) if block.norm_first else x
    one = Positions(where.mask[:, :1])  # what is made new would have a fixed size in ONNX
    return block(
        x.index_select(0, last), one, where.unpack(memory), where.mask.unsqueeze(1), biases
    )
