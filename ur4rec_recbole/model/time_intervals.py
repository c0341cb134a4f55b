"""TimeIntervals: what the encoder reads of the times of past interactions.

Whether an item came a second or a month after another tells a session from a return. The times
belong to the history; nothing of the target is read.
"""

import torch
from torch import Tensor, nn

# RecBole's times are shares of the data's span in float32, whose finest step is about 2^-24: the
# first bin. Each further bin is twice as wide; the last ones serve times that are not normalised.
RESOLUTION = 2.0**24
N_BINS = 64


class TimeIntervals(nn.Module):
    """Vectors of the time since the item before, and attention biases of any two items' interval.

    Self-attention with time intervals is TiSASRec's idea (Li et al. 2020, section 3.3). Here an
    interval adds one number a head to an attention logit, as relative positions do in T5 (Raffel et
    al. 2020, section 2.1), and falls into bins of logarithmic width.

    Parameters
    ----------
    hidden_size, n_layers, n_heads
        D, encoder blocks, and H.
    """

    def __init__(self, hidden_size: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(N_BINS, hidden_size)
        self.biases = nn.ModuleList(nn.Embedding(N_BINS, n_heads) for _ in range(n_layers))

    def forward(self, times: Tensor, where: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Embed the intervals of a batch.

        Parameters
        ----------
        times
            [B, L], ascending at the real positions.
        where
            [B, L] bool with P True positions, those that are real.

        Returns
        -------
        since_previous
            [P, D], to be added to the items' embeddings.
        biases
            [B, H, L, L] for each block, by query and key, to be added to its attention logits.
        """
        intervals = (times.unsqueeze(2) - times.unsqueeze(1)).float().clamp(min=0)
        bins = torch.log2(intervals * RESOLUTION + 1).long().clamp(max=N_BINS - 1)  # [B, L, L]
        since_previous = nn.functional.pad(bins.diagonal(-1, 1, 2), (1, 0))  # [B, L]
        return (
            self.vectors(since_previous[where]),
            [layer(bins).permute(0, 3, 1, 2) for layer in self.biases],
        )
