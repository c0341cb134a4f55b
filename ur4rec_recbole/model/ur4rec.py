"""UR4Rec: the wiring of encoder, experts, item tower and fusion into a RecBole model.

item_seq -> SequenceEncoder -> h -> HierarchicalMoE -> r; sequence score h.e_i and retrieval score
cos(r, z_i) / temperature -> Fusion -> scores [P, N] -> the losses of the running stage.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn import functional

from ur4rec_recbole.core import collective
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import (
    EARLIER,
    HISTORY_END,
    HISTORY_START,
    LATER,
    SECONDS,
    SETTLED,
    UR4RecDataset,
    training_interactions,
)
from ur4rec_recbole.data.modalities import Modalities, load_modalities
from ur4rec_recbole.data.moments import in_seconds, starts_of_moments
from ur4rec_recbole.data.times import are_positions
from ur4rec_recbole.model import build, losses
from ur4rec_recbole.model.corrections import Correction
from ur4rec_recbole.model.excluded import Excluded, History
from ur4rec_recbole.model.experts import Routes
from ur4rec_recbole.model.features import FeatureBank
from ur4rec_recbole.model.items import ItemEmbedding, Shortlist
from ur4rec_recbole.model.lists import with_lists
from ur4rec_recbole.model.objective import Objective, item_counts
from ur4rec_recbole.model.positions import Positions, by_length
from ur4rec_recbole.model.scores import (
    DotScores,
    FusedScores,
    Scores,
    neutral,
    with_one,
    with_prior,
)
from ur4rec_recbole.model.stages import SCORES, Stage, read_stages
from ur4rec_recbole.model.tasks import TaskHeads

# Items up to which a step works on all of them: choosing rows would save it nothing.
ORDINARY = 10_000


class UR4Rec(SequentialRecommender):
    """Multimodal sequential recommender: s_ui = fuse(h_u . e_i, cos(r_u, z_i) / temperature).

    Parameters
    ----------
    config
        RecBole's Config with the keys of defaults/UR4Rec.yaml.
    dataset
        The training part of a `UR4RecDataset`.

    Attributes
    ----------
    stage
        Decides which parts train and which losses are taken; the last one until `enter` is called.
    stage_index, stage_epoch
        Which stage that is and its epoch, from 1; kept by the trainer, saved in checkpoints.
    score
        Index into `SCORES`: which score predictions use. A buffer, so that a checkpoint knows it.
    share
        Where several processes train together, the trainer's: of the batch's targets in all of
        them, those in this one.
    """

    input_type = InputType.POINTWISE
    score: Tensor
    warm: Tensor
    popularity: Tensor
    share: Tensor | None = None
    _kept: dict[str, Tensor] | None = None  # vectors of all items, while `items_kept` is open

    def __init__(self, config: Any, dataset: UR4RecDataset) -> None:
        super().__init__(config, dataset)
        if config["train_neg_sample_args"]["distribution"] != "none":
            raise InputError(
                "train_neg_sample_args",
                "must be ~: RecBole would repeat each sequence once a negative",
                config["train_neg_sample_args"],
                "Set num_negatives and negative_distribution instead.",
            )
        _check_times(config, dataset)
        self.all_positions = bool(getattr(dataset, "predicts_all_positions", False))
        counts = item_counts(dataset)
        self.build_scoring(config, counts, load_modalities(config, dataset))
        if self.cooccurrences is not None:
            rows = training_interactions(dataset)
            users, items = rows[dataset.uid_field], rows[dataset.iid_field]
            times = rows[SECONDS] if self.cooccurrences.half_lives else None
            self.cooccurrences.remember(users, items, config["cooccurrence_window"], times)
        if self.trend is not None:
            rows = training_interactions(dataset)
            self.trend.remember(rows[SECONDS], rows[dataset.iid_field])
            if config[self.trend.key] is not None:
                self.trend.choose(*config[self.trend.key])
        self.tasks = TaskHeads(config, dataset)
        self.objective = Objective(config, build.sampler(config, dataset), counts)
        self.apply(self._init_weights)
        stages = read_stages(config)
        self.stage: Stage = stages[-1]
        self.stage_index, self.stage_epoch = len(stages) - 1, 1
        self.other_parameter_name = ["stage_index", "stage_epoch"]
        self.register_buffer("score", torch.tensor(SCORES.index(self.stage.score)))

    def build_scoring(self, config: Any, counts: Tensor, modalities: Modalities) -> None:
        """Build all that scores items; a model that is served has nothing else.

        Parameters
        ----------
        config
            As above.
        counts
            [N] training interactions of each item.
        modalities
            The feature tables.
        """
        self.config = config
        self.times = f"{SECONDS}{config['LIST_SUFFIX']}"
        gap = config["shuffle_gap"]
        self.shuffle_gap = None if gap is None else in_seconds(gap, "shuffle_gap")
        self.register_buffer("warm", counts > 0, persistent=False)  # [N] items to learn an id of
        self.register_buffer("popularity", torch.log1p(counts.float()), persistent=False)
        self.features = FeatureBank(modalities)
        widths = self.features.widths()
        self.encoder = build.encoder(config)
        self.experts = build.experts(config, widths)
        item_widths = {name: widths[name] for name in self.features.item_modalities}
        self.item_embedding = build.item_embedding(config, self.warm, item_widths)
        self.items = build.items(config, item_widths)
        self.fusion = build.fusion(config)
        self.neighbours = build.neighbours(config, self.features.item_modalities)
        self.cooccurrences = build.cooccurrences(config, len(counts))
        self.trend = build.trend(config, counts)
        self.rare_items = build.rare_items(config)
        self.new_items = build.new_items(config)

    def prior(self, items: Tensor | None = None) -> Tensor | None:
        """Return what popularity adds to the sequence score of all items, [N], or of some, [U].

        None where it adds nothing. With it, states need not learn how popular items are, and those
        of rare items do not suffer from that. Source: Menon et al. 2021, section 4 (the prior as an
        offset of the logits in training; here predictions keep it).
        """
        weight = self.config["popularity_prior"]
        if not weight:
            return None
        return weight * (self.popularity if items is None else self.popularity[items])

    def parts(self) -> dict[str, list[nn.Module]]:
        """Return the modules of each component that a stage trains or freezes."""
        return {
            "encoder": [self.item_embedding, self.encoder],
            "retriever": [self.experts, self.items, self.tasks],
            "fusion": [self.fusion],
        }

    def enter(self, stage: Stage) -> None:
        """Freeze what `stage` does not train and predict by its score."""
        self.stage = stage
        self.score.fill_(SCORES.index(stage.score))
        for part, modules in self.parts().items():
            for module in modules:
                module.requires_grad_(part in stage.rates)
        self.train(self.training)

    def train(self, mode: bool = True) -> "UR4Rec":
        """Set the mode, keeping frozen components in evaluation mode (no dropout in them)."""
        super().train(mode)
        if mode and hasattr(self, "stage"):
            for part, modules in self.parts().items():
                for module in modules:
                    module.train(part in self.stage.rates)
        return self

    def forward(
        self,
        interaction: Interaction,
        table: Tensor,
        place: Tensor | None = None,
        where: Positions | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Encode the batch's sequences into states h [P, D].

        Parameters
        ----------
        interaction
            The batch.
        table
            [N, D] item embeddings, or [U, D] of the items of a shortlist.
        place
            [N], of the shortlist.
        where
            The places of the real items, looked up unless given.
        last_only
            Return the last state of each sequence alone, [B, D], which takes less time.
        """
        seq = interaction[self.ITEM_SEQ]
        where = where or Positions(seq > 0)
        items = where.pack(seq)
        item_emb = table.index_select(0, items if place is None else place[items])
        if self.encoder.intervals is None:
            return self.encoder(item_emb, where, last_only=last_only)
        times, requests = interaction[self.times], None
        if self.config["request_time"]:
            requests = self._following(times, interaction[SECONDS], interaction)
        return self.encoder(item_emb, where, times, requests, last_only)

    def retrieve(
        self, h: Tensor, where: Positions, interaction: Interaction, query: Tensor
    ) -> tuple[Tensor, Routes]:
        """Return the experts' states r [P, D] and their routes.

        Parameters
        ----------
        h
            [P, D] sequence states.
        where
            Where they stand among the queries, [B, Q].
        interaction
            The batch.
        query
            [B, Q] positions in the window. One knows its items up to there and, by count, all
            earlier ones; with `shuffle_gap` its profile knows no item of its own moment, since
            another order may make that the target, and in a window that is reordered none that
            comes later there.
        """
        known = query + 1
        if self.shuffle_gap is not None:
            starts = starts_of_moments(interaction[self.times], self.shuffle_gap)
            known = starts.gather(1, query)
        if HISTORY_START in interaction.interaction:
            before = interaction[HISTORY_END] - interaction[HISTORY_START]
            known = known + (before - interaction[self.ITEM_SEQ_LEN]).unsqueeze(1)
        settled = SETTLED + self.config["LIST_SUFFIX"]
        if settled in interaction.interaction:
            known = torch.minimum(known, interaction[settled].gather(1, query))
        seq = interaction[self.ITEM_SEQ]
        users = seq.new_zeros(len(seq))  # user 0, who has no profile
        if self.USER_ID in interaction.interaction:
            users = interaction[self.USER_ID]
        return self.experts(h, where, self.features.contexts(seq, query, users, known))

    def scores(
        self, h: Tensor, r: Tensor | None, table: Tensor, kinds: Collection[str]
    ) -> dict[str, Tensor]:
        """Score all items, [P, N] a kind, for states h and r [P, D] (r only where needed)."""
        made = self.scorers(h, r, table, kinds)
        return {kind: made[kind].all for kind in kinds}

    def scorers(
        self,
        h: Tensor,
        r: Tensor | None,
        table: Tensor,
        kinds: Collection[str],
        shortlist: Shortlist | None = None,
        vectors: Tensor | None = None,
    ) -> dict[str, Scores]:
        """Return what scores items for states h and r [P, D], by kind.

        `table`, the item tower's `vectors` (computed unless given) and what is scored are of all
        items, or of a shortlist.
        """
        items, place = shortlist or (None, None)
        made: dict[str, Scores] = {}
        if {"sequence", "fused"} & set(kinds):
            prior = self.prior(items)
            made["sequence"] = DotScores(with_one(h, prior), with_prior(table, prior), place)
        if r is not None:

            def unit_vectors() -> Tensor:
                of_items = self.items(table, self.features, items) if vectors is None else vectors
                return functional.normalize(of_items, dim=-1)

            unit = self._once("items", unit_vectors)
            query = functional.normalize(r, dim=-1) / self.config["retrieval_temperature"]
            made["retrieval"] = DotScores(query, unit, place)
            if "fused" in kinds:
                known = self.known_to_encoder()
                known[0] = True  # padding is left out of the fusion in any case
                both = made["sequence"], made["retrieval"]
                made["fused"] = FusedScores(self.fusion, h, *both, known)
        return {kind: made[kind] for kind in kinds}

    @property
    def corrections(self) -> list[Correction]:
        """What corrects the scores after training, in this order."""
        parts = (getattr(self, each.name) for each in build.CORRECTIONS)
        return [each for each in parts if each is not None]

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items for each row, [B, N]; with `exclude_history`, known items at -inf.

        A row without any history, or of items alone of which nothing is known, gets the popularity
        of the items. Fields that a row may leave out: the user's id, where there is no profile;
        items before the window (`EARLIER`); times, where the model does not read them.
        """
        return self.corrected(interaction, self.corrections)

    def corrected(self, interaction: Interaction, corrections: Iterable[Correction]) -> Tensor:
        """Score as `full_sort_predict` does, by some of the corrections alone."""
        begun = self.scorable()[interaction[self.ITEM_SEQ]].any(1)
        scores = self.popularity.repeat(len(begun), 1)
        if begun.any():
            scores[begun] = self._score_begun(interaction[begun])
        return self.correct(scores, interaction, corrections)

    def correct(
        self, scores: Tensor, interaction: Interaction, corrections: Iterable[Correction]
    ) -> Tensor:
        """Return scores [B, N] corrected; what is never recommended at -inf."""
        refused = self._refused(interaction)
        scores = scores.masked_fill(refused, -torch.inf)
        for each in corrections:
            if each.is_active:
                scores = each(scores, *each.reads(self, interaction))
                scores = scores.masked_fill(refused, -torch.inf)
        return scores

    def evidence(self, correction: Correction, interaction: Interaction) -> Tensor:
        """Return what a correction's `fit` needs of each row, [B, C], its target known."""
        before = self.corrections[: self.corrections.index(correction)]
        scores, read = self.corrected(interaction, before), correction.reads(self, interaction)
        return correction.evidence(scores, *read, interaction[self.ITEM_ID])

    def _refused(self, interaction: Interaction) -> Tensor:
        """Mark what is never recommended, [N] or [B, N]: padding, unknown items, the user's own."""
        refused = ~self.scorable()
        if not self.config["exclude_history"]:
            return refused
        own = self._known_items(interaction)
        return refused.expand(own.shape[0], -1).scatter(1, own, torch.ones_like(own).bool())

    def known_to_encoder(self) -> Tensor:
        """Mark the items [N] whose embedding says something: a learned id, or content."""
        return self.item_embedding.known(self.features)

    def scorable(self) -> Tensor:
        """Mark the items [N] of which something is known: an id that was learned, or content."""
        known = self.known_to_encoder()
        if SCORES[int(self.score)] != "sequence" or self.neighbours is not None:
            for name in self.features.item_modalities:
                known = known | self.features.present(name)
        return known & (torch.arange(self.n_items, device=known.device) > 0)

    def _score_begun(self, interaction: Interaction) -> Tensor:
        """Score all items for rows that have a history."""
        kind = SCORES[int(self.score)]
        table = self._once("table", lambda: self.item_embedding(self.features))
        h, r, _ = self.final_states(self._trimmed(interaction), table, kind != "sequence")
        scores = self.scores(h, r, table, [kind])[kind]
        return neutral(scores, self.known_to_encoder()) if kind == "sequence" else scores

    @contextmanager
    def items_kept(self) -> Iterator[None]:
        """Compute once, while open, what depends on items alone: for predictions.

        Neither weights nor feature tables may change meanwhile. Within another one, that goes on.
        """
        if self._kept is not None:
            yield
            return
        self._kept = {}
        try:
            with nullcontext() if self.neighbours is None else self.neighbours.kept():
                yield
        finally:
            self._kept = None

    def _once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if self._kept is None:
            return compute()
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    def final_states(
        self, interaction: Interaction, table: Tensor, retrieves: bool = True
    ) -> tuple[Tensor, Tensor | None, Routes | None]:
        """Return h and r [B, D] at the end of each history, and the experts' routes.

        Without `retrieves` the experts stay out, and r and their routes are None.
        """
        seq = interaction[self.ITEM_SEQ]
        last = (interaction[self.ITEM_SEQ_LEN] - 1).unsqueeze(1)  # [B, 1]
        r = routes = None
        # States in the precision of training, scores in full: rounded ones would tie.
        mixed = bool(self.config["enable_amp"])
        with torch.autocast(seq.device.type, torch.bfloat16, enabled=mixed):
            h = self(self._of_known_items(interaction), table, last_only=True)  # [B, D]
            if retrieves:
                asks = Positions(torch.ones_like(last, dtype=torch.bool))
                r, routes = self.retrieve(h, asks, interaction, last)
        return h.float(), None if r is None else r.float(), routes

    def _of_known_items(self, interaction: Interaction) -> Interaction:
        """Leave out of each history the items that the encoder knows nothing of, if it has others.

        An item without training stands last in many a history, and would be a query of nothing. The
        experts read all items, whose content may be known.
        """
        seq, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        known = self.known_to_encoder()[seq] & (seq > 0)
        number = torch.where(known.any(1), known.sum(1), length)
        if not torch.jit.is_tracing() and (number == length).all():
            return interaction
        # Known places move to the front, the others behind them; without a sort, for ONNX.
        behind = known.sum(1, keepdim=True) + (~known).long().cumsum(1) - 1
        goes_to = torch.where(known, known.long().cumsum(1) - 1, behind)
        left_out = goes_to >= number.unsqueeze(1)

        def shortened(value: Tensor) -> Tensor:
            more = [1] * (value.ndim - 2)
            to, out = (each.view(*each.shape, *more) for each in (goes_to, left_out))
            value = value.masked_fill(out, 0)
            return torch.zeros_like(value).scatter(1, to.expand_as(value), value)

        fields = with_lists(interaction, self.config["LIST_SUFFIX"], shortened)
        return Interaction(fields | {self.ITEM_SEQ_LEN: number})

    def predict(self, interaction: Interaction) -> Tensor:
        """Score the item of each row, [B]; rows that `HISTORY_END` calls one are computed once."""
        every = torch.arange(len(interaction), device=interaction[self.ITEM_SEQ].device)
        names_row = HISTORY_END in interaction.interaction
        key = interaction[HISTORY_END] if names_row else every
        distinct, inverse = torch.unique(key, return_inverse=True)
        row = torch.arange(len(inverse), device=inverse.device)
        first = torch.full((len(distinct),), len(row), device=row.device)
        first = first.scatter_reduce(0, inverse, row, "amin")
        scores = self.full_sort_predict(interaction[first])
        return scores[inverse, interaction[self.ITEM_ID]]

    def _known_items(self, interaction: Interaction) -> Tensor:
        """Return the items that each row's user is known to have had, zero-padded."""
        seq = interaction[self.ITEM_SEQ]
        if EARLIER not in interaction.interaction:
            return seq
        return torch.cat([interaction[EARLIER], seq], dim=1)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Return the weighted losses of the running stage, in the order of `named_losses`."""
        return tuple(self.named_losses(interaction).values())

    def named_losses(self, interaction: Interaction) -> dict[str, Tensor]:
        """Return the weighted losses of the running stage by name."""
        interaction, sizes = self._grouped(self._trimmed(interaction))
        stage, seq = self.stage, interaction[self.ITEM_SEQ]
        where = Positions(seq > 0, sizes)
        chosen, targets = self._positions(interaction, where)
        drawn = {kind: self.objective.draw(kind, targets) for kind in stage.losses}
        batch = self._batch_items(seq, targets, drawn)
        shortlist = (
            None if batch is None or self._needs_all() else Shortlist.of(batch, self.n_items)
        )
        items, place = shortlist or (None, None)
        with torch.set_grad_enabled(torch.is_grad_enabled() and "encoder" in stage.rates):
            table = self.item_embedding(self.features, items)
            h = self(interaction, table, place, where)
        h = h if chosen is where else h[where.last]
        r, vectors, named = None, None, {}
        if set(stage.losses) != {"sequence"}:
            query = torch.arange(seq.shape[1], device=seq.device).expand_as(seq)
            r, routes = self.retrieve(h, chosen, interaction, query)
            views = self.items.parts(table, self.features, items)
            vectors = self.items.total(views)
            if "retriever" in stage.rates:
                if batch is not None and not shortlist:
                    views = {name: view[batch] for name, view in views.items()}
                named = self._regularisers(routes, views, batch)
                named |= self._task_losses(r, vectors, interaction, chosen, targets)
        scores = self.scorers(h, r, table, stage.losses, shortlist, vectors)
        excluded = Excluded(self.warm, self._history(interaction, chosen))
        weights = self._weights(interaction, chosen)
        for kind, weight in stage.losses.items():
            loss = self.objective(
                kind, scores[kind], targets, excluded, drawn[kind], self.stage_epoch, weights
            )
            named[kind] = weight * loss
        return named

    def _needs_all(self) -> bool:
        """Tell whether a loss of the running stage needs the vectors of all items."""
        tasks = "retriever" in self.stage.rates and bool(self.tasks.weights)
        return tasks or self.objective.needs_all(self.stage.losses, self.stage_epoch)

    def _batch_items(
        self, seq: Tensor, targets: Tensor, drawn: Mapping[str, Tensor | None]
    ) -> Tensor | None:
        """Return the items [U] that a batch has and draws; None in a catalogue of ordinary size."""
        if self.n_items <= ORDINARY:
            return None
        shared = [each for each in drawn.values() if each is not None]
        return torch.cat([seq.new_zeros(1), seq.flatten(), targets, *shared]).unique()

    def _regularisers(
        self, routes: Routes, views: dict[str, Tensor], items: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the weighted losses on routes and on the item tower's views.

        These have the rows of `items` [U], or of all where that is None.
        """
        named = {}
        weight = self.config["load_balance_weight"]
        if weight and routes.modal.shape[1]:
            named["load_balance"] = weight * self._load_balance(routes)
        weight = self.config["contrastive_weight"]
        if weight:
            named["contrastive"] = weight * self._alignment(views, items)
        return named

    def _load_balance(self, routes: Routes) -> Tensor:
        """Return the mean load balance of the routers whose modality is present in the batch."""
        gates = [each.float().sum(0) for each in (routes.modal, *routes.sub.unbind(1))]
        if self.share is not None:  # of a batch that other processes have parts of
            own = torch.cat(gates) / self.share.clamp(min=1e-12)  # a loss is given its share later
            whole = collective.with_value(own, collective.summed(own * self.share))
            gates = list(whole.split([len(each) for each in gates]))
        uneven = torch.stack([losses.load_balance(each.unsqueeze(0)) for each in gates])
        present = torch.stack([each.any() for each in gates])  # another one's loss is 0
        return uneven.sum() / present.sum().clamp(min=1)

    def _alignment(self, views: dict[str, Tensor], items: Tensor | None) -> Tensor:
        """Return the mean alignment of each two views (id, text, image) of the items."""
        names = self.features.item_modalities
        present = {name: self.features.present(name, items) for name in names}
        present["id"] = self.warm if items is None else self.warm[items]
        temperature = self.config["contrastive_temperature"]
        pairs = [
            losses.alignment(views[left], views[right], present[left] & present[right], temperature)
            for left, right in itertools.combinations(views, 2)
        ]
        return torch.stack(pairs).mean() if pairs else next(iter(views.values())).new_zeros(())

    def _task_losses(
        self,
        r: Tensor,
        vectors: Tensor,
        interaction: Interaction,
        chosen: Positions,
        targets: Tensor,
    ) -> dict[str, Tensor]:
        """Return the weighted losses of the auxiliary tasks."""
        if not self.tasks.weights:
            return {}
        ratings, field = None, self.config["RATING_FIELD"]
        if "rating" in self.tasks.weights:
            listed = interaction[field + self.config["LIST_SUFFIX"]]
            rated = self._following(listed, interaction[field], interaction)
            ratings = chosen.pack(rated).float()
        return self.tasks(r, vectors, targets, ratings)

    def _trimmed(self, interaction: Interaction) -> Interaction:
        """Cut the lists of a batch at its longest history: what lies behind is padding."""
        longest = int(interaction[self.ITEM_SEQ_LEN].max())
        suffix = self.config["LIST_SUFFIX"]
        return Interaction(with_lists(interaction, suffix, lambda value: value[:, :longest]))

    def _grouped(self, interaction: Interaction) -> tuple[Interaction, list[int]]:
        """Put rows of like lengths together, where that saves time, and return their numbers."""
        found = by_length(interaction[self.ITEM_SEQ_LEN])
        if found is None:
            return interaction, []
        order, sizes = found
        return interaction[order], sizes

    def count_targets(self, interaction: Interaction) -> Tensor:
        """Return the number of positions that a batch trains, or the sum of their weights."""
        recency = self._recency(interaction)
        if recency is not None:
            return recency.sum()
        length = interaction[self.ITEM_SEQ_LEN]
        return length.sum() if self.all_positions else length.new_tensor(len(length))

    def _recency(self, interaction: Interaction) -> Tensor | None:
        """Return what each place [B, L] counts as a target, 0 behind the last; None where alike.

        Weights in place of the draws of recency sampling (Petrov and Macdonald 2022).
        """
        power = self.config["target_recency"]
        if not power or not self.all_positions:
            return None
        left = interaction[self.ITEM_SEQ_LEN].unsqueeze(1) - 1  # [B, 1]
        left = left - torch.arange(interaction[self.ITEM_SEQ].shape[1], device=left.device)
        later = (left + interaction[LATER].unsqueeze(1)).clamp(min=0)
        return torch.where(left < 0, 0.0, (1.0 + later) ** -power)

    def _weights(self, interaction: Interaction, chosen: Positions) -> Tensor | None:
        """Return what the trained positions count, [P] of mean 1; None where all count alike."""
        recency = self._recency(interaction)
        if recency is None:
            return None
        weights = chosen.pack(recency)
        return weights / weights.mean()

    def _positions(self, interaction: Interaction, where: Positions) -> tuple[Positions, Tensor]:
        """Return the trained positions, all or the last of each row, and their targets [P]."""
        chosen = where if self.all_positions else where.some(where.last)
        seq, target = interaction[self.ITEM_SEQ], interaction[self.ITEM_ID]
        return chosen, chosen.pack(self._following(seq, target, interaction))

    def _following(self, listed: Tensor, last: Tensor, interaction: Interaction) -> Tensor:
        """Shift a list [B, L] by one, so that each position shows what follows it."""
        length = interaction[self.ITEM_SEQ_LEN].unsqueeze(1)
        final = torch.arange(listed.shape[1], device=listed.device) == length - 1
        following = torch.cat([listed[:, 1:], torch.zeros_like(listed[:, :1])], dim=1)
        return torch.where(final, last.unsqueeze(1), following)

    def _history(self, interaction: Interaction, chosen: Positions) -> History | None:
        """Return what the users have had at the chosen positions, where that is excluded."""
        if not self.config["exclude_history"]:
            return None
        earlier = interaction[EARLIER] if EARLIER in interaction.interaction else None
        return History(interaction[self.ITEM_SEQ], earlier, chosen.row, chosen.place)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise as RecBole's SASRec does: normal weights, zero biases."""
        if isinstance(module, ItemEmbedding):
            module.shrink_content()
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config["initializer_range"])
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_times(config: Any, dataset: UR4RecDataset) -> None:
    """Refuse to read times where they are none."""
    read = [key for key in ("time_intervals", "request_time", "shuffle_gap") if config[key]]
    rows = getattr(dataset, "interactions", {})
    if not read or SECONDS not in rows:
        return
    if are_positions(rows[dataset.uid_field].numpy(), rows[SECONDS].numpy()):
        raise InputError(
            f"Configuration key {read[0]!r}", f"needs times in {dataset.time_field}",
            "positions: each user's go up by one from interaction to interaction",
            f"Turn off {', '.join(read)}; order_noise is for data whose order alone is known.",
        )  # fmt: skip
