"""ServedUR4Rec: UR4Rec without data set, losses and sampler, its item vectors computed once."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from ur4rec_recbole.core.config import schema
from ur4rec_recbole.data.modalities import ItemFeatures, Modalities
from ur4rec_recbole.data.profiles import ProfileIndex
from ur4rec_recbole.model.features import FeatureBank
from ur4rec_recbole.model.items import ItemEmbedding
from ur4rec_recbole.model.ur4rec import UR4Rec

# What scoring reads of RecBole's own keys.
KEYS = (
    "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD",
    "NEG_PREFIX", "MAX_ITEM_LIST_LENGTH", "enable_amp",
)  # fmt: skip


class Settings(dict):
    """A configuration that is read alone; like RecBole's, it has None for what it lacks."""

    def __missing__(self, key: str) -> None:
        return None

    @classmethod
    def of(cls, config: Any) -> "Settings":
        """Keep of a Config what scoring reads, and no paths; who asks says what to exclude."""
        keys = [
            *KEYS,
            *(key for key in schema("UR4Rec") if not key.endswith(("_table", "_tables"))),
        ]
        # A softmax over what may be recommended has to know the history; else who asks says it.
        excludes = bool(config["exclude_history"] and config["n_neighbour_items"])
        return cls({key: config[key] for key in keys} | {"exclude_history": excludes})


class Fixed(nn.Module):
    """Stands for a part whose output changes no more."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value, persistent=False)

    def forward(self, *_: Any) -> Tensor:
        """Return it."""
        return self.value


class _Counted:
    """What RecBole asks of a data set when it builds a model: how many items there are."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def num(self, field: str) -> int:
        """Return N, of whatever field."""
        del field
        return self.n_items


class ServedUR4Rec(UR4Rec):
    """UR4Rec for scoring: s_ui as in training, for a catalogue that can grow.

    Parameters
    ----------
    config
        `Settings`.
    counts
        [N] training interactions of each item.
    modalities
        Feature tables by internal id.
    weights
        A state dict of UR4Rec; what only training needs is passed over.
    """

    embedding: ItemEmbedding

    def __init__(
        self,
        config: Settings,
        counts: Tensor,
        modalities: Modalities,
        weights: Mapping[str, Tensor],
    ) -> None:
        # Not UR4Rec's own, which needs a data set for losses and sampler.
        SequentialRecommender.__init__(self, config | {"device": "cpu"}, _Counted(len(counts)))
        self.build_scoring(config, counts, modalities)
        self.counts = counts
        self.register_buffer("score", weights["score"].clone())
        self.load_state_dict({name: weights[name] for name in self.state_dict()})
        self.requires_grad_(False)
        self.eval()
        self.weights = dict(self.state_dict())
        self.embedding, self.tower = self.item_embedding, self.items
        with torch.no_grad():
            table = self.item_embedding(self.features)
            self._fix(table, self.items(table, self.features))

    @classmethod
    def of(cls, model: UR4Rec, counts: Tensor) -> "ServedUR4Rec":
        """Copy a trained model, onto the CPU."""
        bank = copy.deepcopy(model.features).cpu()
        weights = {name: value.cpu() for name, value in model.state_dict().items()}
        return cls(Settings.of(model.config), counts.cpu(), modalities_of(bank), weights)

    def known_to_encoder(self) -> Tensor:
        """Mark the items [N] whose embedding says something; added ones have content alone."""
        known = torch.zeros(len(self.table), dtype=torch.bool)
        if self.embedding.id is not None:
            known[: len(self.embedding.warm)] = self.embedding.warm.squeeze(-1)
        for name in self.embedding.content:
            known |= self.features.present(name)
        return known

    def with_items(self, features: Mapping[str, ItemFeatures], count: int) -> "ServedUR4Rec":
        """Return a network of `count` more items; all weights are shared.

        Parameters
        ----------
        features
            Of the new items, [count, W] scaled as the tables were; a modality may be left out.
        count
            How many there are.
        """
        added = {}
        for name in self.features.item_modalities:
            width = self.features.vectors(name).shape[1]
            none = ItemFeatures(torch.zeros(count, width), torch.zeros(count, dtype=torch.bool))
            added[name] = features.get(name, none)
        bank = FeatureBank(Modalities(added, None))
        with torch.no_grad():
            parts = self.embedding.content_parts(bank)
            table = torch.stack(parts).sum(0) if parts else self.table.new_zeros(count, self.width)
            items = self.tower(table, bank)
        grown = copy.copy(self)  # shares modules; what follows replaces some of them
        grown._modules, grown._buffers = dict(self._modules), dict(self._buffers)
        known = modalities_of(self.features)
        grown.features = FeatureBank(
            Modalities(
                {name: _joined(known.items[name], added[name]) for name in added}, known.profile
            )
        )
        grown.counts = torch.cat([self.counts, self.counts.new_zeros(count)])
        grown.popularity = torch.cat([self.popularity, self.popularity.new_zeros(count)])
        grown.warm = torch.cat([self.warm, self.warm.new_zeros(count)])
        grown.n_items = self.n_items + count
        grown._fix(torch.cat([self.table, table]), torch.cat([self.vectors, items]))
        return grown

    def _fix(self, table: Tensor, vectors: Tensor) -> None:
        self.item_embedding: Any = Fixed(table)
        self.items: Any = Fixed(vectors)

    def grown_weights(self) -> dict[str, Tensor]:
        """Return all weights, with empty rows for the ids of items that were added."""
        weights, name = dict(self.weights), "item_embedding.id.weight"
        if name in weights:
            missing = len(self.counts) - len(weights[name])
            weights[name] = torch.cat([weights[name], weights[name].new_zeros(missing, self.width)])
        return weights

    @property
    def width(self) -> int:
        """D."""
        return int(self.table.shape[1])

    @property
    def table(self) -> Tensor:
        """What the encoder reads and the sequence score compares with, [N, D]."""
        return self.item_embedding.value

    @property
    def vectors(self) -> Tensor:
        """What the retrieval score compares with, [N, D]."""
        return self.items.value

    @property
    def reads_times(self) -> bool:
        """Whether scores depend on when the items of a history were had."""
        return self.encoder.intervals is not None or self.config["shuffle_gap"] is not None


def modalities_of(bank: FeatureBank) -> Modalities:
    """Return what a bank was made of."""
    items = {
        name: ItemFeatures(bank.vectors(name), bank.present(name), bank.origins[name])
        for name in bank.item_modalities
    }
    profile = None
    if len(bank.profile_keys):
        profile = ProfileIndex(bank.profile_vectors, bank.profile_keys, bank.profile_base)
    return Modalities(items, profile)


def _joined(known: ItemFeatures, added: ItemFeatures) -> ItemFeatures:
    return ItemFeatures(
        torch.cat([known.vectors, added.vectors]),
        torch.cat([known.present, added.present]),
        known.origin,
    )
