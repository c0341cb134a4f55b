"""Index: the catalogue by token with a network that scores it; immutable, so that threads share it.

A change makes another index: a request that has begun goes on with the one that it took.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional

from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.data.modalities import ItemFeatures
from ur4rec_recbole.model.ensemble import UR4RecEnsemble
from ur4rec_recbole.serving.histories import History, as_batch
from ur4rec_recbole.serving.network import ServedUR4Rec

BATCH = 64  # histories scored at a time; more do not fit the caches of a core


@dataclass(frozen=True)
class Index:
    """All items that can be recommended.

    Attributes
    ----------
    tokens
        [N] by internal id; 0 is padding.
    network
        `ServedUR4Rec`, or any sequential model of RecBole.
    config
        Its settings.
    popularity
        [N], scores for a history without items; None for a model that has its own.
    ids
        Internal id by token.
    """

    tokens: Sequence[str]
    network: Any
    config: Any
    popularity: Tensor | None = None
    ids: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {token: place for place, token in enumerate(self.tokens) if place}
        object.__setattr__(self, "ids", known)

    def known(self, tokens: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the ids of the tokens that there are, and the tokens that there are not."""
        tokens = list(tokens)
        ids = np.array([self.ids.get(token, 0) for token in tokens], dtype=np.int64)
        unknown = tuple(tokens[place] for place in np.flatnonzero(ids == 0))
        return ids[ids > 0], unknown

    def require(self, token: str) -> int:
        """Return the id of a token; `InputError` where there is none."""
        if token not in self.ids:
            raise InputError(
                f"item {token!r}", "must be in the catalogue", "an unknown one",
                nearest(token, list(self.ids)[:10000]) or "Check the id, or add the item.",
            )  # fmt: skip
        return self.ids[token]

    def scores(self, histories: Sequence[History], repeat: bool = False) -> Iterator[Tensor]:
        """Yield scores [B, N] of some histories after others; padding at -inf.

        With `repeat` those of a history's own items, too, which a model may leave out.
        """
        network, config = self.network, self.config
        served = isinstance(network, ServedUR4Rec)
        if repeat and served:
            network = network.scoring_all()
            config = network.config
        if repeat and _excludes(network):
            raise InputError(
                "repeat", "needs a model that scores what a user has had",
                "one that leaves it out, or an ensemble with such a member", "Leave it out.",
            )  # fmt: skip
        for start in range(0, len(histories), BATCH):
            batch = as_batch(histories[start : start + BATCH], config, not served)
            with torch.no_grad():
                scores = self._scored(network, batch)
            scores[:, 0] = -torch.inf
            yield scores

    def _scored(self, network: Any, batch: Interaction) -> Tensor:
        """Return the scores [B, N] of a batch."""
        begun = batch[network.ITEM_SEQ_LEN] > 0
        if self.popularity is None or begun.all():
            scores = network.full_sort_predict(batch.to(network.device))
            return scores.view(len(batch), -1).float().cpu()
        scores = self.popularity.repeat(len(batch), 1)
        if begun.any():
            scores[begun] = self._scored(network, batch[begun])
        return scores

    def similar(self, item: int) -> Tensor:
        """Return the cosines of all items with one, [N], by what its model compares.

        -inf of those that the model knows nothing of.
        """
        if not isinstance(self.network, ServedUR4Rec):
            raise InputError(
                "similar items", "need a model of UR4Rec", type(self.network).__name__,
                "Load a run of UR4Rec.",
            )  # fmt: skip
        refused = self.network.refused_items
        if refused[item]:
            raise InputError(
                f"item {self.tokens[item]!r}", "must be one that the model knows something of",
                "one without training interactions, and without content that it reads",
                "Ask for another one.",
            )  # fmt: skip
        vectors = self.network.vectors if int(self.network.score) else self.network.table
        unit = functional.normalize(vectors, dim=-1)
        return (unit @ unit[item]).masked_fill(refused, -torch.inf)

    def new(self) -> Tensor:
        """Mark the items [N] without training interactions that can be scored."""
        network = self.network
        served = isinstance(network, ServedUR4Rec)
        new = (network.counts == 0) & ~network.refused_items if served else torch.zeros(0)
        if not new.any():
            raise InputError(
                "only_new", "needs a model of UR4Rec, and items with content and without training "
                "interactions", f"{type(network).__name__}, none of them",
                "Leave it out, or add items.",
            )  # fmt: skip
        return new

    def extended(self, features: Mapping[str, Mapping[str, np.ndarray]]) -> "Index":
        """Return an index with new items.

        Parameters
        ----------
        features
            By token and modality, a raw vector [W] as the training table had them.
        """
        network = self.network
        if not isinstance(network, ServedUR4Rec):
            raise InputError(
                "new items", "need a model of UR4Rec", type(network).__name__,
                "Train UR4Rec with a table of item vectors.",
            )  # fmt: skip
        known = [token for token in features if token in self.ids]
        if known or {"", "[PAD]"} & set(features):
            raise InputError(
                "new items", "must have ids that are not taken", known or "no id",
                "Leave out what the catalogue has.",
            )  # fmt: skip
        added = {
            name: self._column(name, list(features.values()))
            for name in network.features.item_modalities
        }
        nameless = [token for token, given in features.items() if not set(given) & set(added)]
        if nameless or any(set(given) - set(added) for given in features.values()):
            raise InputError(
                "new items", f"must each have a vector of one of {list(added) or 'no modality'}",
                f"{nameless[:3]} without any" if nameless else "vectors of another",
                "Give the vectors of the tables that the model was trained with.",
            )  # fmt: skip
        grown = network.with_items(added, len(features))
        if grown.refused_items[-len(features) :].any():
            raise InputError(
                "new items", "need a model that scores items by their content",
                "one that reads it for other items alone", "Train with encoder_content: True, or a "
                "retriever's stage.",
            )  # fmt: skip
        for rows in (grown.table, grown.vectors):
            squares = rows[-len(features) :].square().sum(-1)  # products, too, must stay finite
            if not squares.isfinite().all():
                raise InputError(
                    "new items", "must have vectors that the model can read", "too large numbers",
                    "Use the encoder that wrote the table.",
                )  # fmt: skip
        return Index([*self.tokens, *features], grown, self.config)

    def _column(self, name: str, rows: list[Mapping[str, np.ndarray]]) -> ItemFeatures:
        """Stack and scale the vectors of one modality."""
        bank = self.network.features
        width, scaling = bank.vectors(name).shape[1], bank.origins[name].scaling
        vectors = np.zeros((len(rows), width), dtype=np.float32)
        present = np.array([name in row for row in rows])
        for place, row in enumerate(rows):
            if name in row:
                vector = np.asarray(row[name], dtype=np.float32)
                if vector.shape != (width,) or not np.isfinite(vector).all():
                    raise InputError(
                        f"new items: {name}", f"must be vectors of {width} finite numbers",
                        f"shape {vector.shape}", "Use the encoder that wrote the table.",
                    )  # fmt: skip
                vectors[place] = vector
        if scaling is not None:
            vectors[present] = scaling.apply(vectors[present])
        return ItemFeatures(torch.from_numpy(vectors), torch.from_numpy(present))


def _excludes(network: Any) -> bool:
    """Tell whether a model, or a member of it, never scores the history's own items."""
    if isinstance(network, UR4RecEnsemble):
        configs = network.config["member_configs"]
        return any(each["model"] == "UR4Rec" and each["exclude_history"] for each in configs)
    return hasattr(network.full_sort_predict, "__wrapped__")  # by patches.exclude_history
