"""Cooccurrences: what training histories held near the items of a history, by plain counts.

An encoder of a few dimensions smooths over what counts say outright of two items that are often had
together. The two meet as probabilities, as with neighbours by content. Where a model reads times,
what goes together may do so for a while alone.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from ur4rec_recbole.model.corrections import Correction, logarithms
from ur4rec_recbole.model.lists import moments
from ur4rec_recbole.model.pair_counts import companions, followers
from ur4rec_recbole.model.scores import discounted_gain

EVIDENCE = 10.0  # counted interactions with which the counts get half of their share
PERIODS = 2  # to the shortest half-life: what is counted of two items within one has one time
# What validation rows choose among: half-life, decay, whether what stood before an item counts, and
# share; with one of the configuration's half-lives fewer of the rest.
LASTING = tuple(itertools.product((0.0,), (0.4, 0.6, 0.8, 0.9), (0.0, 1.0)))
PASSING = tuple(itertools.product((0.6, 0.8), (0.0,)))
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


class Cooccurrences(Correction):
    """p(j) = (1 - w) p_0(j) + w c_j / C with w = share C / (C + 10) and C = sum_j c_j.

    c_j = sum_k decay^k n(i_k, j), where i_k is the k-th newest item of the history (k = 0, 1, ...),
    and p_0 is the softmax of the scores. n(i, j) counts how often j stood after i in the training
    histories, and before it where `both` is 1: d places apart counts 0.8^(d - 1), for d up to a
    window. With a half-life, j after i counts 2^-((|t - s| - d) / half-life) of that, where s is
    when j was had, t the time of the request, or of the newest item in a model that does not read
    it, and d the least |t - s| of all that is summed: counts that are all old say no less. Share,
    half-life, decay and `both` are no weights that training learns: `fit` chooses them on
    validation rows, and until then the share is 0.

    Parameters
    ----------
    n_items
        N.
    half_lives
        In seconds, to choose from beside none; empty for a model that reads no times.

    Source: as `ItemTransition`; mixed by a constant as in Khandelwal et al. 2020, section 2.
    """

    name = "cooccurrences"
    key = "cooccurrence_choice"
    numbers = ("half_life", "decay", "both", "share")
    told_as = "counts of what goes together"

    half_life: Tensor
    decay: Tensor
    both: Tensor
    share: Tensor
    near: Tensor
    after: Tensor
    before: Tensor
    then: Tensor
    often: Tensor
    when: Tensor

    def __init__(self, n_items: int, half_lives: Sequence[float] = ()) -> None:
        super().__init__()
        self.half_lives = tuple(half_lives)
        self.counted = LASTING + tuple((each, *rest) for each in half_lives for rest in PASSING)
        for name in self.numbers:
            self.register_buffer(name, torch.zeros(()))
        # [N, M], made anew from the training interactions: who stood near each item, and how often.
        kinds = {"near": torch.int32, "after": torch.float32, "before": torch.float32}
        if half_lives:  # and who stood after it, how often, and when, in seconds
            kinds |= {"then": torch.int32, "often": torch.float32, "when": torch.float64}
        self.of_items = tuple(kinds)
        for name, kind in kinds.items():
            self.register_buffer(name, torch.zeros(n_items, 0, dtype=kind), persistent=False)

    def remember(
        self, users: Tensor, items: Tensor, window: int, times: Tensor | None = None
    ) -> None:
        """Count in the training interactions [I], which are sorted by user and time."""
        about, size = (users.numpy(), items.numpy()), (window, len(self.near))
        tables = companions(*about, *size)
        if self.half_lives:
            assert times is not None
            period = min(self.half_lives) / PERIODS
            tables += followers(*about, times.numpy(), period, *size)
        for name, table in zip(self.of_items, tables, strict=True):
            own = self.get_buffer(name)
            setattr(self, name, torch.from_numpy(table).to(own))

    def reads(self, model: SequentialRecommender, interaction: Interaction) -> tuple[Tensor, ...]:
        """Return histories [B, L], oldest first, zero-padded on the right, and lengths [B].

        With half-lives also t [B], float64 seconds.
        """
        histories, lengths = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN]
        if not self.half_lives:
            return histories, lengths
        return histories, lengths, moments(model, interaction)

    def forward(
        self, scores: Tensor, histories: Tensor, lengths: Tensor, asked: Tensor | None = None
    ) -> Tensor:
        """Return log p [B, N]."""
        chosen = (float(self.get_buffer(name)) for name in self.numbers[:-1])
        counts = self._counts(scores, histories, lengths, asked, *chosen)
        mixed = _mixed(scores.softmax(-1), counts, counts.sum(1, keepdim=True), float(self.share))
        total = mixed.sum(1, keepdim=True)
        return logarithms(mixed / total, scores, 1 / total)

    def _counts(
        self,
        scores: Tensor,
        histories: Tensor,
        lengths: Tensor,
        asked: Tensor | None,
        half_life: float,
        decay: float,
        both: float,
    ) -> Tensor:
        """Return c [B, N], 0 of what is no candidate."""
        age = lengths.unsqueeze(1) - 1 - torch.arange(histories.shape[1], device=scores.device)
        weights = torch.where(histories > 0, decay ** age.clamp(min=0).float(), 0.0).unsqueeze(-1)
        moment = asked if half_life else None
        near = (self.near if moment is None else self.then)[histories].long()  # [B, L, M]
        if moment is not None:
            each = self.often[histories]
            candidate = (scores > -torch.inf).gather(1, near.flatten(1)).view_as(near)
            passed = (moment.view(-1, 1, 1) - self.when[histories]).abs()
            summed = passed.where(candidate & (each > 0), torch.inf).flatten(1)
            nearest = summed.amin(1).view(-1, 1, 1)
            each = each * (0.5 ** ((passed - nearest).clamp(min=0) / half_life)).float()
        else:
            each = self.after[histories] + both * self.before[histories]
        each = (each * weights).flatten(1)
        counts = torch.zeros_like(scores).scatter_add(1, near.flatten(1), each)
        return counts.masked_fill(scores == -torch.inf, 0.0)

    def evidence(
        self,
        scores: Tensor,
        histories: Tensor,
        lengths: Tensor,
        *asked_and_targets: Tensor,
    ) -> Tensor:
        """Return each target's gain under each choice, [B, C]; arguments as of `forward`."""
        *given, targets = asked_and_targets
        asked = given[0] if given else None
        found, likely = [], scores.softmax(-1)
        for choice in self.counted:
            counts = self._counts(scores, histories, lengths, asked, *choice)
            total = counts.sum(1, keepdim=True)
            mixed = (_mixed(likely, counts, total, share) for share in SHARES)
            found += [discounted_gain(each, targets) for each in mixed]
        return torch.stack(found, dim=1)

    def fit(self, evidence: Tensor) -> None:
        """Choose by the mean of gains [R, C] over validation rows."""
        counted, share = divmod(int(evidence.mean(0).argmax()), len(SHARES))
        self.choose(*self.counted[counted], SHARES[share])

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Have the tables of a model that is served, among its weights from now on."""
        tables, n_items = [weights[name] for name in self.tables()], len(self.near)
        for first in range(0, len(tables), 3):
            near, *others = tables[first : first + 3]
            if any(each.shape != near.shape for each in others) or len(near) != n_items:
                raise ValueError(f"counts of {[tuple(each.shape) for each in (near, *others)]}")
            if near.dtype != torch.int32 or ((near < 0) | (near >= n_items)).any():
                raise ValueError("counts of items that are none")
        for name, table in zip(self.of_items, tables, strict=True):
            self.register_buffer(name, table)

    def told(self) -> str:
        """Say what was chosen."""
        where = "near" if self.both else "after"
        days = float(self.half_life) / 86400
        lasting = f", half-life {days:g} days" if days else ""
        told = f"{float(self.share):.0%} by what stood {where} an item, decay {float(self.decay):g}"
        return told + lasting


def _mixed(likely: Tensor, counts: Tensor, total: Tensor, share: float) -> Tensor:
    """Return p / (1 - w) [B, N] of p_0, c and C [B, 1]: the same order, in one pass."""
    return likely.addcmul(counts, share / (EVIDENCE + (1 - share) * total))
