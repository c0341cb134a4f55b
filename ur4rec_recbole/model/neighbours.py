"""ContentNeighbours: items similar to the newest ones get a share of the next item's probability.

An encoder learns from the interactions that an item has had, and knows little of one that had few.
Its neighbours by content are known without any. The two meet as probabilities, not as scores: a
near copy of the last item stands out of a softmax of similarities, where a weighted sum of scores
would bury it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from ur4rec_recbole.model.corrections import SMALLEST, Correction, logarithms
from ur4rec_recbole.model.features import FeatureBank

ROUNDS = 200  # of expectation and maximisation; the shares settle in some fifty
KEPT = 2**28  # probabilities that are kept at most, 1 GiB


class ContentNeighbours(Correction):
    """p(j) = g_0 softmax(scores)_j + sum_mk g_mk softmax_j(cos(v_m,i_k, v_m,j) / temperature).

    i_k is the k-th newest item and v_m its vector of modality m. The shares g are no weights that
    training learns but a few numbers that `fit` chooses on validation rows; until then g_0 is 1.
    (A gate that reads the state, trained with the encoder, did worse than no neighbours: the
    encoder stopped learning what they tell. See docs/log.md.)

    Parameters
    ----------
    modalities
        Names of the item modalities that take part.
    n_newest
        K, how many of the newest items are used.
    temperature
        Divides the cosines.

    Source: Khandelwal et al. 2020, section 2 (neighbours as a distribution, mixed by a constant).
    """

    name = "neighbours"
    key = "neighbour_shares"
    numbers = ("shares",)
    told_as = "neighbours by content"

    shares: Tensor
    _kept: "dict[str, _Rows] | None" = None  # by modality, while `kept` is open

    def __init__(self, modalities: tuple[str, ...], n_newest: int, temperature: float) -> None:
        super().__init__()
        self.modalities, self.n_newest, self.temperature = modalities, n_newest, temperature
        shares = torch.zeros(1 + len(modalities) * n_newest)
        shares[0] = 1.0
        self.register_buffer("shares", shares)

    @property
    def is_active(self) -> bool:
        """Whether neighbours have a share."""
        return bool(self.shares[0] < 1)

    def reads(
        self, model: SequentialRecommender, interaction: Interaction
    ) -> tuple[Tensor, FeatureBank]:
        """Return the newest items [B, K], newest first, 0 where there are fewer; and features."""
        seq, length = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN].unsqueeze(1)
        place = length - 1 - torch.arange(self.n_newest, device=seq.device)
        newest = seq.gather(1, place.clamp(min=0)).masked_fill(place < 0, 0)
        return newest, model.features

    def forward(self, scores: Tensor, newest: Tensor, features: FeatureBank) -> Tensor:
        """Return log p [B, N]."""
        shares = self._open_shares(newest, features)
        items, place = _distinct(newest)
        mixed = shares[:, :1] * scores.softmax(-1)
        for m, name in enumerate(self.modalities):
            told = self.distributions(items, name, features)
            for k in range(self.n_newest):
                column = 1 + m * self.n_newest + k
                mixed = mixed + shares[:, column : column + 1] * told[place[:, k]]
        return logarithms(mixed, scores, shares[:, :1])

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Compute each item's distributions once while open: the features may not change."""
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def distributions(self, items: Tensor, name: str, features: FeatureBank) -> Tensor:
        """Return each of U distinct items' distribution over all others by one modality, [U, N].

        An item is no neighbour of itself; one without a vector has none and is nobody's neighbour.
        """
        present = features.present(name)
        if self._kept is None or len(self.modalities) * len(present) ** 2 > KEPT:
            return self._distributions(items, name, features)
        if name not in self._kept:
            self._kept[name] = _Rows(features.vectors(name).new_empty(len(present), len(present)))
        return self._kept[name].of(items, lambda new: self._distributions(new, name, features))

    def _distributions(self, items: Tensor, name: str, features: FeatureBank) -> Tensor:
        vectors, present = features.unit(name), features.present(name)
        alike = vectors[items] @ vectors.T / self.temperature  # [U, N]
        alike = alike.masked_fill(~present, -torch.inf).scatter(1, items.unsqueeze(1), -torch.inf)
        return alike.softmax(-1).nan_to_num(0.0) * present[items].unsqueeze(1)

    def evidence(
        self, scores: Tensor, newest: Tensor, features: FeatureBank, targets: Tensor
    ) -> Tensor:
        """Return each target's probability under each component, [B, 1 + M K]; -1 if not open."""
        row = torch.arange(len(targets), device=targets.device)
        parts = [scores.softmax(-1)[row, targets].unsqueeze(1)]
        items, place = _distinct(newest)
        for name in self.modalities:
            parts.append(self.distributions(items, name, features)[place, targets.unsqueeze(1)])
        return torch.cat(parts, dim=1).masked_fill(~self._open(newest, features), -1.0)

    def fit(self, evidence: Tensor) -> None:
        """Choose the shares that make targets likeliest, by expectation and maximisation.

        A row's shares are those of its open components over their sum, so that a component is held
        to the rows that it is open in, each by how much of the sum is open there.

        Parameters
        ----------
        evidence
            [R, 1 + M K] probabilities, over validation rows.
        """
        is_open = evidence >= 0
        shares = torch.full_like(self.shares, 1 / len(self.shares))
        for _ in range(ROUNDS):
            each = shares * is_open
            total = each.sum(1, keepdim=True)
            claims = each / total * evidence
            claims = claims / claims.sum(1, keepdim=True).clamp(min=SMALLEST)
            shares = claims.sum(0) / (is_open / total).sum(0).clamp(min=SMALLEST)
            shares = shares / shares.sum()
            shares[0].clamp_(min=SMALLEST)  # all that a row without neighbours has
        self.shares.copy_(shares)

    def forget(self) -> None:
        """Reset the shares, so that the scores alone count again."""
        self.shares.zero_()
        self.shares[0] = 1.0

    def told(self) -> str:
        """Say what was chosen."""
        return f"a share of {1 - float(self.shares[0]):.1%}"

    def _open(self, newest: Tensor, features: FeatureBank) -> Tensor:
        """Mark the components that apply to each row, [B, 1 + M K]."""
        known = [features.present(name)[newest] for name in self.modalities]  # each [B, K]
        return torch.cat([torch.ones_like(newest[:, :1], dtype=torch.bool), *known], dim=1)

    def _open_shares(self, newest: Tensor, features: FeatureBank) -> Tensor:
        shares = self.shares * self._open(newest, features)
        return shares / shares.sum(1, keepdim=True)


class _Rows:
    """Rows of a table [N, N], each computed when it is asked for first."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.made = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)

    def of(self, items: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the rows of distinct items [U]; `compute` makes those that are new."""
        new = items[~self.made[items]]
        if len(new):
            self.rows[new] = compute(new)
            self.made[new] = True
        return self.rows[items]


def _distinct(items: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct items [U], and where each of [B, K] is among them."""
    if torch.jit.is_tracing():  # for ONNX, whose graph has no place for a choice
        every = items.flatten()
        return every, torch.arange(every.shape[0]).view_as(items)
    return items.unique(return_inverse=True)
