"""TimeIntervals: what the encoder reads of the times of past interactions.

Whether an item came a second or a month after another tells a session from a return. The times
belong to the history. With `request_time` the model also knows when it is asked for the next item:
in production that is now, in training and evaluation the time of the target.
"""

import torch
from torch import Tensor, nn

from ur4rec_recbole.model.positions import Positions

N_BINS = 64  # the first is less than a second; each further one is twice as wide


class TimeIntervals(nn.Module):
    """Vectors of the time since the item before, and attention biases of any two items' interval.

    Self-attention with time intervals is TiSASRec's idea (Li et al. 2020, section 3.3). Here an
    interval adds one number a head to an attention logit, as relative positions do in T5 (Raffel et
    al. 2020, section 2.1), and falls into bins of logarithmic width.

    Parameters
    ----------
    hidden_size, n_layers, n_heads
        D, encoder blocks, and H.
    request_time
        Whether a position also reads the time until its request, and attends by how long before
        the request an item came.
    """

    def __init__(
        self, hidden_size: int, n_layers: int, n_heads: int, request_time: bool = False
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding(N_BINS, hidden_size)
        self.until_request = nn.Embedding(N_BINS, hidden_size) if request_time else None
        self.biases = nn.ModuleList(nn.Embedding(N_BINS, n_heads) for _ in range(n_layers))

    def forward(
        self, times: Tensor, where: Positions, requests: Tensor | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Embed the intervals of a batch.

        Parameters
        ----------
        times
            [B, L] float64 seconds, ascending at the real positions.
        where
            The P places in [B, L] that are real.
        requests
            [B, L] float64 seconds, when each position is asked for its next item; with
            `request_time` only.

        Returns
        -------
        vectors
            [P, D], to be added to the items' embeddings.
        biases
            For each block and group of `where`, [b, H, l, l] by query and key, to be added to its
            attention logits.
        """
        # As times.diff(prepend=...), which has no form in ONNX.
        since_previous = times - torch.cat([times[:, :1], times[:, :-1]], dim=1)  # [B, L]
        vectors = _rows(self.vectors.weight, _bins(where.pack(since_previous)))
        until = times
        if self.until_request is not None:
            assert requests is not None
            until = requests
            until_request = _bins(where.pack(requests - times))
            vectors = vectors + _rows(self.until_request.weight, until_request)
        # One look-up for all blocks: its gradient, summed bin by bin, costs by the look-up.
        tables = torch.cat([block.get_parameter("weight") for block in self.biases], dim=1)
        biases = []
        for rows, _, places in where.groups:
            later, earlier = (each[rows, : places.shape[1]] for each in (until, times))
            bins = _bins(later.unsqueeze(2) - earlier.unsqueeze(1))  # [b, l, l]
            found = _rows(tables, bins).permute(0, 3, 1, 2)
            biases.append(found.chunk(len(self.biases), dim=1))
        return vectors, list(zip(*biases, strict=True))


def _rows(table: Tensor, bins: Tensor) -> Tensor:
    """Look bins [...] up in a table [N_BINS, C]; `embedding` takes 8 times as long to go back."""
    return table.index_select(0, bins.flatten()).unflatten(0, bins.shape)


def _bins(seconds: Tensor) -> Tensor:
    """Return the bin of each interval; one that runs backwards falls into the first."""
    # What is added keeps powers of two in their bin where log2 is a quotient of logarithms (ONNX).
    bins = torch.log2(seconds.clamp(min=0) + 1) + 1e-6
    return bins.clamp(max=N_BINS - 1).long()  # infinite ones, too, of which there is no integer
