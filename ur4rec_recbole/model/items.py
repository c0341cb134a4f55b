"""Item vectors from ids, texts and images: for the encoder, and for the retrieval score."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ur4rec_recbole.core.dropout import Dropout
from ur4rec_recbole.core.products import Linear
from ur4rec_recbole.model.features import FeatureBank


class Shortlist(NamedTuple):
    """The items that a training step needs, of a catalogue too large to compute all of.

    Attributes
    ----------
    items
        [U] internal ids, ascending, padding first.
    place
        [N] where each of them stands among the U; of the others it says nothing.
    """

    items: Tensor
    place: Tensor

    @classmethod
    def of(cls, items: Tensor, n_items: int) -> "Shortlist":
        """Make a shortlist of distinct, ascending items [U]."""
        place = items.new_zeros(n_items)
        place[items] = torch.arange(len(items), device=items.device)
        return cls(items, place)


class ItemEmbedding(nn.Module):
    """What the encoder reads and scores by: e_i = [id] d_i + [content] sum_m present_mi W_m v_mi.

    Parameters
    ----------
    n_items, hidden_size
        N, D.
    widths
        W of each item modality that takes part; empty for plain SASRec.
    warm
        [N] bool, the items that training has had, whose ids take part: of another item's id nothing
        was learned, and its vector is its content's. None leaves ids out altogether.
    id_dropout
        Probability that a training step leaves the id out of an item that has content, which then
        stands alone.
    """

    warm: Tensor

    def __init__(
        self,
        n_items: int,
        hidden_size: int,
        widths: dict[str, int],
        warm: Tensor | None = None,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.id = None
        if warm is not None:
            self.id = nn.Embedding(n_items, hidden_size, padding_idx=0)
            self.register_buffer("warm", warm.unsqueeze(-1), persistent=False)  # [N, 1]
        self.id_dropout = id_dropout
        self.content = nn.ModuleDict(
            {name: Linear(width, hidden_size, bias=False) for name, width in widths.items()}
        )

    def known(self, features: FeatureBank) -> Tensor:
        """Mark the items [N] that have a learned id or content, and so a vector."""
        marks = [features.present(name) for name in self.content]
        if self.id is not None:
            marks.append(self.warm.squeeze(-1))
        return torch.stack(marks).any(0)

    def _used(self, features: FeatureBank) -> Tensor:
        """Mark the items [N, 1] whose id takes part in this step."""
        if not (self.training and self.id_dropout and self.content):
            return self.warm
        left_out = torch.rand(self.warm.shape, device=self.warm.device) < self.id_dropout
        described = torch.stack([features.present(name) for name in self.content]).any(0)
        return self.warm & ~(left_out & described.unsqueeze(-1))

    def shrink_content(self) -> None:
        """Bring content of unit variance to the size of the ids that it is added to."""
        for projection in self.content.values():
            weight = projection.get_parameter("weight")
            weight.data.div_(weight.shape[1] ** 0.5)

    def forward(self, features: FeatureBank, items: Tensor | None = None) -> Tensor:
        """Return the table e [N, D], or the rows [U, D] of some items [U]."""
        parts = []
        if self.id is not None:
            used, weight = self._used(features), self.id.weight
            if items is not None:
                used, weight = used[items], functional.embedding(items, weight)
            parts.append(weight * used)
        parts += self.content_parts(features, items)
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def content_parts(self, features: FeatureBank, items: Tensor | None = None) -> list[Tensor]:
        """Return what each modality adds, [N, D], zero where absent: all that a new item has."""
        return [
            projection(features.vectors(name, items)) * features.present(name, items).unsqueeze(-1)
            for name, projection in self.content.items()
        ]


class ItemTower(nn.Module):
    """Sum of what is present of an item: z_i = [id] W e_i + sum_m present_mi MLP_m(v_mi).

    Parameters
    ----------
    widths
        W of each item modality by name.
    hidden_size
        D.
    use_item_id
        Whether the id embedding takes part; without it, items never seen in training are scored
        from their content alone.
    dropout
        Probability of zeroing an element of the hidden layer of an MLP.
    """

    def __init__(
        self, widths: dict[str, int], hidden_size: int, use_item_id: bool, dropout: float
    ) -> None:
        super().__init__()
        self.id_projection = Linear(hidden_size, hidden_size) if use_item_id else None
        self.content = nn.ModuleDict(
            {
                name: nn.Sequential(
                    Linear(width, hidden_size),
                    nn.GELU(),
                    Dropout(dropout),
                    Linear(hidden_size, hidden_size),
                )
                for name, width in widths.items()
            }
        )

    def parts(
        self, item_embedding: Tensor, features: FeatureBank, items: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the summands by name, each [N, D] and zero where absent; [U, D] of some items."""
        parts = {}
        if self.id_projection is not None:
            parts["id"] = self.id_projection(item_embedding)
        for name, mlp in self.content.items():
            present = features.present(name, items).unsqueeze(-1)
            parts[name] = mlp(features.vectors(name, items)) * present
        return parts

    def forward(
        self, item_embedding: Tensor, features: FeatureBank, items: Tensor | None = None
    ) -> Tensor:
        """Map embeddings [N, D] and features to item vectors [N, D]; [U, D] of some items [U]."""
        return self.total(self.parts(item_embedding, features, items))

    @staticmethod
    def total(parts: dict[str, Tensor]) -> Tensor:
        """Return the item vectors [N, D] of such summands."""
        return torch.stack(list(parts.values())).sum(0)
