"""ItemTower: one vector an item, from its id, its text and its image."""

import torch
from torch import Tensor, nn

from ur4rec_recbole.model.features import FeatureBank


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
        self.id_projection = nn.Linear(hidden_size, hidden_size) if use_item_id else None
        self.content = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(width, hidden_size),
                    nn.GELU(),
                    nn.Dropout(dropout),
                    nn.Linear(hidden_size, hidden_size),
                )
                for name, width in widths.items()
            }
        )

    def parts(self, item_embedding: Tensor, features: FeatureBank) -> dict[str, Tensor]:
        """Return the summands by name, each [N, D] and zero where absent."""
        parts = {}
        if self.id_projection is not None:
            parts["id"] = self.id_projection(item_embedding)
        for name, mlp in self.content.items():
            parts[name] = mlp(features.vectors(name)) * features.present(name).unsqueeze(-1)
        return parts

    def forward(self, item_embedding: Tensor, features: FeatureBank) -> Tensor:
        """Map id embeddings [N, D] and features to item vectors [N, D]."""
        parts = self.parts(item_embedding, features)
        return torch.stack(list(parts.values())).sum(0)
