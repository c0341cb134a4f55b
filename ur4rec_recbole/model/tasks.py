"""Auxiliary tasks on the retriever's vectors: genres of items, ratings, preference-item matching.

r [P, D] and z [N, D] -> one loss a task, each with a fixed weight, or with learned uncertainty on
top (Kendall et al. 2018, section 3.2). Heads are used in training only; scores never see them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions

TASKS = ("genre", "rating", "matching")


class TaskHeads(nn.Module):
    """Heads and weights of the auxiliary tasks that have a weight.

    Parameters
    ----------
    config
        `genre_weight`, `rating_weight`, `matching_weight`: 0 switches a task off; `genre_field`;
        `task_weighting`: fixed, or uncertainty.
    dataset
        The training part. Genres come from its item features, ratings from its interactions.

    Notes
    -----
    genre: multi-label classification of z_i, over the items that have genres.
    rating: regression of the target's rating, standardised by the training ratings, on r * z.
    matching: tell a target from a uniformly drawn other item of the training part by r * z.
    """

    genres: Tensor
    rating_scale: Tensor
    warm: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__()
        weights = {name: config[f"{name}_weight"] for name in TASKS}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        width = config["hidden_size"]
        heads: dict[str, nn.Module] = {}
        if "genre" in self.weights:
            genres = genre_matrix(dataset, config["genre_field"])
            self.register_buffer("genres", genres, persistent=False)
            heads["genre"] = nn.Linear(width, genres.shape[1])
        if "rating" in self.weights:
            scale = _rating_scale(dataset, config["RATING_FIELD"])
            self.register_buffer("rating_scale", scale, persistent=False)
            heads["rating"] = nn.Linear(width, 1)
        if "matching" in self.weights:
            heads["matching"] = nn.Linear(width, 1)
            warm = training_interactions(dataset)[dataset.iid_field].unique()
            self.register_buffer("warm", warm, persistent=False)
        self.heads = nn.ModuleDict(heads)
        learned = config["task_weighting"] == "uncertainty"
        self.log_variance = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(())) for name in self.weights if learned}
        )

    def forward(
        self, r: Tensor, items: Tensor, targets: Tensor, ratings: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name.

        Parameters
        ----------
        r
            [P, D] states of the experts.
        items
            [N, D] item vectors z.
        targets
            [P].
        ratings
            [P] ratings of the targets; needed by the rating task alone.
        """
        found = {}
        for name, weight in self.weights.items():
            loss = self._loss(name, r, items, targets, ratings)
            if name in self.log_variance:
                s = self.log_variance[name]
                half = 0.5 if name == "rating" else 1.0  # a Gaussian likelihood, or a softmax
                loss = half * torch.exp(-s) * loss + 0.5 * s
            found[name] = weight * loss
        return found

    def _loss(
        self, name: str, r: Tensor, items: Tensor, targets: Tensor, ratings: Tensor | None
    ) -> Tensor:
        if name == "genre":
            known = self.genres.any(1)
            logits = self.heads["genre"](items[known])
            return functional.binary_cross_entropy_with_logits(logits, self.genres[known])
        together = _match(r, items[targets])
        if name == "rating":
            assert ratings is not None
            mean, deviation = self.rating_scale
            guess = self.heads["rating"](together).squeeze(-1)
            return functional.mse_loss(guess.float(), (ratings - mean) / deviation)
        pair = torch.stack([together, _match(r, items[self._others(targets)])])  # [2, P, D]
        logits = self.heads["matching"](pair).squeeze(-1).float()
        truth = torch.tensor([[1.0], [0.0]], device=logits.device).expand_as(logits)
        return functional.binary_cross_entropy_with_logits(logits, truth)

    def _others(self, targets: Tensor) -> Tensor:
        """Draw an item of the training part for each target [P], any other one alike."""
        last = len(self.warm) - 1
        drawn = torch.randint(max(last, 1), targets.shape, device=targets.device)
        beyond = drawn >= torch.searchsorted(self.warm, targets)
        return self.warm[(drawn + beyond).clamp(max=last)]  # a single item has no other


def _match(r: Tensor, items: Tensor) -> Tensor:
    """Multiply states and items [P, D] by element, scaled to elements of about unit size."""
    product = functional.normalize(r, dim=-1) * functional.normalize(items, dim=-1)
    return product * r.shape[-1]


def genre_matrix(dataset: Any, field: str) -> Tensor:
    """Return which genres an item has, [N, G] of 0 and 1, from a token_seq item field."""
    features = dataset.item_feat
    if features is None or field not in features:
        raise InputError(
            "genre_weight",
            f"needs the item field {field!r}",
            "no such field in the loaded item features",
            f"Add it: load_col: {{item: [item_id, {field}]}}, or set genre_field.",
        )
    values = features[field]
    values = values.unsqueeze(1) if values.ndim == 1 else values  # a token field: one genre each
    found = torch.zeros(dataset.item_num, dataset.num(field))
    found[features[dataset.iid_field].unsqueeze(1), values] = 1.0
    found[:, 0] = 0.0  # padding of the list, and of the items
    found[0] = 0.0
    return found[:, 1:]


def _rating_scale(dataset: Any, field: str) -> Tensor:
    """Return mean and deviation [2] of the training ratings."""
    rows = training_interactions(dataset)
    if field not in rows:
        raise InputError(
            "rating_weight",
            f"needs the interaction field {field!r}",
            "no such field in the loaded interactions",
            "Add it to load_col, or set rating_weight: 0.",
        )
    ratings = rows[field].float()
    return torch.stack([ratings.mean(), ratings.std(unbiased=False).clamp(min=1e-6)])
