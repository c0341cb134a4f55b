"""One vector a query and one an item, whose inner product ranks items as the model does.

The sequence score is h . e_i, the retrieval score (r / |r| temperature) . (z_i / |z_i|). The fused
score standardises both over the items. For one query that is an affine function of either score:

    s_i = exp(a) (w_s (h.e_i - m_s) / d_s + w_r (q.u_i - m_r) / d_r)

with the mean m and the deviation d of each score over the items. So it is, up to a number that is
the same for all items, the inner product of (exp(a) w_s / d_s h, exp(a) w_r / d_r q) and
(e_i, u_i): exact, in an index of inner products that is exact. A deviation follows from the items'
covariance C, d_s^2 = h' C h, without scoring them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ur4rec_recbole.model.stages import SCORES
from ur4rec_recbole.serving.network import ServedUR4Rec


def item_vectors(network: ServedUR4Rec) -> Tensor:
    """Return [N, V]: e, u, or both side by side where the score is fused."""
    parts = {"sequence": network.table, "retrieval": functional.normalize(network.vectors, dim=-1)}
    kind = SCORES[int(network.score)]
    return torch.cat(list(parts.values()), dim=1) if kind == "fused" else parts[kind]


class QueryVectors(torch.nn.Module):
    """From states h and r [B, D] to query vectors [B, V]."""

    fusion: Any  # a Fusion
    covariance_s: Tensor
    covariance_r: Tensor

    def __init__(self, network: ServedUR4Rec) -> None:
        super().__init__()
        self.kind = SCORES[int(network.score)]
        self.temperature = network.config["retrieval_temperature"]
        self.fusion = network.fusion
        with torch.no_grad():
            items = functional.normalize(network.vectors, dim=-1)
            for name, rows in (("s", network.table), ("r", items)):
                centred = rows[1:].double() - rows[1:].double().mean(0)
                covariance = centred.T @ centred / len(centred)
                self.register_buffer(f"covariance_{name}", covariance)

    def forward(self, h: Tensor, r: Tensor | None) -> Tensor:
        """Return the query vectors."""
        if self.kind == "sequence":
            return h
        assert r is not None
        query = functional.normalize(r, dim=-1) / self.temperature
        if self.kind == "retrieval":
            return query
        w_s, w_r = self.fusion.mixture(h)
        scale = self.fusion.log_scale.exp()
        left = scale * w_s / _deviation(h, self.covariance_s) * h
        right = scale * w_r / _deviation(query, self.covariance_r) * query
        return torch.cat([left, right], dim=1)


def _deviation(query: Tensor, covariance: Tensor) -> Tensor:
    """Return the deviation [B, 1] of a score over the items, as `fusion.standardise` uses it."""
    query = query.double()
    variance = ((query @ covariance) * query).sum(1, keepdim=True)
    return variance.clamp(min=0).sqrt().float() + 1e-6
