"""SequenceEncoder: SASRec, giving a state at every position instead of the last one alone."""

from torch import Tensor, nn

from ur4rec_recbole.model.attention import BlockConfig, TransformerBlock
from ur4rec_recbole.model.dropout import Dropout


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

    Source: Kang and McAuley 2018, section III, with BERT's feed-forward network as in RecBole.
    """

    def __init__(self, n_layers: int, max_seq_length: int, block: BlockConfig) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(max_seq_length, block.hidden_size)
        self.input_norm = nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps)
        self.dropout = Dropout(block.hidden_dropout)
        self.blocks = nn.ModuleList(TransformerBlock(block) for _ in range(n_layers))
        self.output_norm = (
            nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps)
            if block.norm_first
            else nn.Identity()
        )

    def forward(self, item_emb: Tensor, where: Tensor) -> Tensor:
        """Encode the embeddings [P, D] of the items at `where` [B, L] into states [P, D]."""
        position = where.nonzero()[:, 1]
        x = self.dropout(self.input_norm(item_emb + self.position_embedding(position)))
        for block in self.blocks:
            x = block(x, where)
        return self.output_norm(x)
