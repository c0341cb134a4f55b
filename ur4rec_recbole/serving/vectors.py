"""One vector a query and one an item, whose inner product is the model's score.

The sequence score is h . e_i, the retrieval score (r / |r| temperature) . (z_i / |z_i|). The fused
score standardises both over the items. For one query that is an affine function of either score:

    s_i = exp(a) (w_s h.(e_i - e) / d_s + w_r q.(u_i - u) / d_r)

with the means e and u of the items' vectors, since the mean of a score is the score of the mean.
So it is the inner product of (exp(a) w_s / d_s h, exp(a) w_r / d_r q) and (e_i - e, u_i - u):
exact, in an index of inner products that is exact. A deviation follows from the items' covariance
C, d_s^2 = h' C h, without scoring them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ur4rec_recbole.model.scores import neutral, with_one, with_prior
from ur4rec_recbole.model.stages import SCORES
from ur4rec_recbole.model.ur4rec import UR4Rec


class InnerProducts(torch.nn.Module):
    """Vectors of all items, and from states h and r [B, D] to query vectors [B, V].

    Parameters
    ----------
    network
        Its score, temperature and fusion.
    table
        [N, D], e.
    vectors
        [N, D], z.

    Attributes
    ----------
    rows
        [N, V]: e, u, or both side by side where the score is fused. Beside e there is what
        popularity adds, if it does.
    width
        How many of the V are of the sequence score, where it takes part.
    """

    fusion: Any  # a Fusion
    rows: Tensor
    covariance_s: Tensor
    covariance_r: Tensor

    def __init__(self, network: UR4Rec, table: Tensor, vectors: Tensor) -> None:
        super().__init__()
        self.kind = SCORES[int(network.score)]
        self.temperature = network.config["retrieval_temperature"]
        self.fusion = network.fusion
        self.prior = network.prior()
        table = with_prior(table, self.prior)
        self.width = table.shape[1]
        known = network.known_to_encoder().clone()
        known[0] = self.kind == "fused"  # padding is left out of the fusion in any case
        table = neutral(table.T, known).T.contiguous()  # the mean of scores is that of the mean
        rows = {"sequence": table, "retrieval": functional.normalize(vectors, dim=-1)}
        if self.kind == "fused":
            left, self.covariance_s = _centred(table)
            right, self.covariance_r = _centred(rows["retrieval"])
            rows["fused"] = torch.cat([left, right], dim=1)
        self.register_buffer("rows", rows[self.kind], persistent=False)

    def forward(self, h: Tensor, r: Tensor | None) -> Tensor:
        """Return the query vectors."""
        sequence = with_one(h, self.prior)
        if self.kind == "sequence":
            return sequence
        assert r is not None
        query = functional.normalize(r, dim=-1) / self.temperature
        if self.kind == "retrieval":
            return query
        w_s, w_r = self.fusion.mixture(h)
        scale = self.fusion.log_scale.exp()
        left = scale * w_s / _deviation(sequence, self.covariance_s) * sequence
        right = scale * w_r / _deviation(query, self.covariance_r) * query
        return torch.cat([left, right], dim=1)


def _centred(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [N, D] less the mean of the items, and their covariance [D, D], float64."""
    items = rows[1:].double()
    mean = items.mean(0)
    centred = items - mean
    return (rows - mean).float(), centred.T @ centred / len(centred)


def _deviation(query: Tensor, covariance: Tensor) -> Tensor:
    """Return the deviation [B, 1] of a score over the items, as `fusion.standardise` uses it."""
    query = query.double()
    variance = ((query @ covariance) * query).sum(1, keepdim=True)
    return variance.clamp(min=0).sqrt().float() + 1e-6
