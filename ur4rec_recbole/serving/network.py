"""ServedUR4Rec: UR4Rec without data set, losses and sampler, its item vectors computed once."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from ur4rec_recbole.core.config import schema
from ur4rec_recbole.data.modalities import ItemFeatures, Modalities
from ur4rec_recbole.model.experts import HierarchicalMoE, Routes
from ur4rec_recbole.model.features import FeatureBank
from ur4rec_recbole.model.items import ItemEmbedding
from ur4rec_recbole.model.positions import Positions
from ur4rec_recbole.model.stages import SCORES
from ur4rec_recbole.model.ur4rec import UR4Rec
from ur4rec_recbole.serving.bank import ServedBank, extended, modalities_of
from ur4rec_recbole.serving.vectors import InnerProducts

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
        mixes = config["n_neighbour_items"] or config["cooccurrence_window"]
        excludes = bool(config["exclude_history"] and mixes)
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

    Whatever depends on items alone is computed once: their vectors, what the experts' input layers
    make of their content, and the rows of `InnerProducts`, by which one product scores them all.

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
    features: ServedBank

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
        if self.cooccurrences is not None:
            self.cooccurrences.hold(weights)
        mine = self.state_dict()
        self.load_state_dict({name: own for name, own in weights.items() if name in mine})
        self.requires_grad_(False)
        self.eval()
        self.weights = dict(self.state_dict())
        self.embedding, self.tower = self.item_embedding, self.items
        self._inputs = self._take_inputs()
        with torch.no_grad():
            table = self.item_embedding(self.features)
            vectors = self.items(table, self.features)
            self.features = ServedBank(modalities, self._tokens(self.features))
            self._fix(table, vectors)

    @classmethod
    def of(cls, model: UR4Rec, counts: Tensor) -> "ServedUR4Rec":
        """Copy a trained model, onto the CPU."""
        bank = copy.deepcopy(model.features).cpu()
        weights = dict(model.state_dict())
        for part in model.corrections:
            weights |= part.tables()
        weights = {name: value.cpu() for name, value in weights.items()}
        return cls(Settings.of(model.config), counts.cpu(), modalities_of(bank), weights)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items as `UR4Rec` does, [B, N]."""
        corrected = any(each.is_active for each in self.corrections)
        if corrected or self.refused_items[interaction[self.ITEM_SEQ]].all(1).any():
            return super().full_sort_predict(interaction)
        return self._score_begun(interaction).masked_fill_(self.refused_items, -torch.inf)

    def scoring_all(self) -> "ServedUR4Rec":
        """Return a network that scores what a user has had as well; all weights are shared."""
        other = copy.copy(self)
        other.config = Settings(self.config | {"exclude_history": False})
        return other

    def _score_begun(self, interaction: Interaction) -> Tensor:
        """Score all items for rows that have a history."""
        return self.query(interaction) @ self.products.rows.T

    def query(self, interaction: Interaction) -> Tensor:
        """Return the vectors [B, V] whose products with `products.rows` are the scores."""
        h, r, _ = self.final_states(interaction, self.table, self.retrieves)
        return self.products(h, r)

    def retrieve(
        self, h: Tensor, where: Positions, interaction: Interaction, query: Tensor
    ) -> tuple[Tensor, Routes]:
        """Return r and its routes as `UR4Rec` does; how much was known, only profiles ask."""
        seq = interaction[self.ITEM_SEQ]
        users = seq.new_zeros(seq.shape[0])
        if self.USER_ID in interaction.interaction:
            users = interaction[self.USER_ID]
        if self.features.profiles(users):
            return super().retrieve(h, where, interaction, query)
        return self.experts(h, where, self.features.contexts(seq, query, users, query))

    def known_to_encoder(self) -> Tensor:
        """Mark the items [N] whose embedding says something; added ones have content alone."""
        return self.known_items

    def _take_inputs(self) -> dict[str, nn.Module]:
        """Return the experts' input layers by item modality, which let tokens pass from now on."""
        taken: dict[str, nn.Module] = {}
        if isinstance(self.experts, HierarchicalMoE):
            for name in self.features.item_modalities:
                expert: Any = self.experts.modalities[name]
                taken[name] = nn.Sequential(expert.input, expert.input_norm)
                expert.input, expert.input_norm = nn.Identity(), nn.Identity()
        return taken

    def _tokens(self, bank: FeatureBank) -> dict[str, Tensor]:
        """Return what the experts read of a bank's items, [N, D] by modality."""
        with torch.autocast("cpu", enabled=bool(self.config["enable_amp"])):
            return {
                name: self._inputs.get(name, nn.Identity())(bank.vectors(name)).float()
                for name in bank.item_modalities
            }

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
            tokens = {
                name: torch.cat([self.features.tokens(name), more])
                for name, more in self._tokens(bank).items()
            }
        grown = copy.copy(self)  # shares modules; what follows replaces some of them
        grown._modules, grown._buffers = dict(self._modules), dict(self._buffers)
        grown.features = ServedBank(extended(self.features, added), tokens)
        grown.counts = torch.cat([self.counts, self.counts.new_zeros(count)])
        grown.popularity = torch.cat([self.popularity, self.popularity.new_zeros(count)])
        grown.warm = torch.cat([self.warm, self.warm.new_zeros(count)])
        grown.n_items = self.n_items + count
        for each in self.corrections:
            setattr(grown, each.name, each.grown(count))
        grown._fix(torch.cat([self.table, table]), torch.cat([self.vectors, items]))
        return grown

    def _fix(self, table: Tensor, vectors: Tensor) -> None:
        """Keep what no request changes."""
        self.item_embedding: Any = Fixed(table)
        self.items: Any = Fixed(vectors)
        self.known_items = torch.zeros(len(table), dtype=torch.bool)
        if self.embedding.id is not None:
            self.known_items[: len(self.embedding.warm)] = self.embedding.warm.squeeze(-1)
        for name in self.embedding.content:
            self.known_items |= self.features.present(name)
        self.products = InnerProducts(self, table, vectors)
        self.refused_items = ~self.scorable()  # [N]

    def grown_weights(self) -> dict[str, Tensor]:
        """Return all weights, with empty rows for the ids of items that were added."""
        weights, name = dict(self.weights), "item_embedding.id.weight"
        if name in weights:
            missing = len(self.counts) - len(weights[name])
            weights[name] = torch.cat([weights[name], weights[name].new_zeros(missing, self.width)])
        for part in self.corrections:
            weights |= {name: table for name, table in part.tables().items() if name in weights}
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
        by_profiles = self.shuffle_gap is not None and len(self.features.profile_keys) > 0
        return self.encoder.intervals is not None or by_profiles

    @property
    def retrieves(self) -> bool:
        """Whether scores need the experts."""
        return SCORES[int(self.score)] != "sequence"
