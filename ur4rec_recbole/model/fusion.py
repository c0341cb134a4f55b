"""Fusion of a candidate's two scores: the encoder's (sequence) and the experts' (retrieval).

Both scores are standardised over the candidates first, so that a weight means the same whatever
the scales of a dot product and of a cosine.
"""

import torch
from torch import Tensor, nn

from ur4rec_recbole.core.products import Linear


def standardise(scores: Tensor) -> Tensor:
    """Bring scores [..., N] to mean 0 and deviation 1 over the items, padding (0) left out."""
    items = scores[..., 1:]
    mean = items.mean(-1, keepdim=True)
    deviation = items.std(-1, keepdim=True, unbiased=False)
    return (scores - mean) / (deviation + 1e-6)


class Fusion(nn.Module):
    """s = exp(a) (w_s std(sequence) + w_r std(retrieval)), the weights as a subclass has them."""

    log_scale: nn.Parameter

    def mixture(self, state: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return w_s and w_r for states [..., D], each a number or [..., 1]."""
        raise NotImplementedError

    def forward(self, state: Tensor, sequence: Tensor, retrieval: Tensor) -> Tensor:
        """Fuse scores [..., N] of the states [..., D]."""
        w_s, w_r = self.mixture(state)
        return self.log_scale.exp() * (w_s * standardise(sequence) + w_r * standardise(retrieval))


class WeightedFusion(Fusion):
    """s = exp(a) (w_s std(sequence) + w_r std(retrieval)), with fixed weights and a learned a.

    Parameters
    ----------
    weights
        (w_s, w_r).
    scale
        Initial exp(a): standardised scores are too flat for a softmax over many items.
    """

    def __init__(self, weights: tuple[float, float], scale: float) -> None:
        super().__init__()
        self.weights = weights
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())

    def mixture(self, state: Tensor) -> tuple[float, float]:
        """Return the fixed weights; `state` is ignored."""
        del state
        return self.weights


class GatedFusion(Fusion):
    """s = exp(a) ((1 - g) std(sequence) + g std(retrieval)), g = sigmoid(MLP(h)) a user state.

    Parameters
    ----------
    hidden_size
        D.
    weights
        (w_s, w_r): the gate starts at w_r / (w_s + w_r) for everyone.
    scale
        Initial exp(a).

    Source: Arevalo et al. 2017 (gated multimodal units), one gate a state instead of an element.
    """

    def __init__(self, hidden_size: int, weights: tuple[float, float], scale: float) -> None:
        super().__init__()
        self.hidden = Linear(hidden_size, hidden_size)
        self.gate = Linear(hidden_size, 1)
        self.start = torch.logit(torch.tensor(weights[1] / sum(weights)), eps=1e-4).item()
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())

    def mixture(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 - g and g, each [..., 1]."""
        gate = torch.sigmoid(self.gate(torch.tanh(self.hidden(state))) + self.start)
        return 1 - gate, gate
