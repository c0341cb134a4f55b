"""Trend: what has been chosen more often of late than usual, when a recommendation is asked for.

An encoder reads how long ago the items of a history were had, not what others choose on that day.
Where demand moves (new films, news, seasons) that says more than the history does.
"""

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from ur4rec_recbole.data.dataset import SECONDS
from ur4rec_recbole.model.corrections import Correction
from ur4rec_recbole.model.scores import discounted_gain

# What validation rows choose among, with the half-lives of the configuration.
PRIORS = (0.1, 1.0)  # interactions
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5)
FORGOTTEN = 20  # half-lives after which an interaction no longer counts: a millionth is left


class RecentCounts:
    """c_j(t) = sum over the interactions with item j before t of 2^-((t - time) / half-life).

    Parameters
    ----------
    times, items
        [I] seconds and items of the training interactions, in any order.
    n_items
        N.
    """

    def __init__(self, times: np.ndarray, items: np.ndarray, n_items: int) -> None:
        order = np.argsort(times, kind="stable")
        self.times, self.items, self.n_items = times[order], items[order], n_items

    def at(self, moments: np.ndarray, half_life: float) -> np.ndarray:
        """Return c [B, N] float32 at moments [B]; what happens at that very time is not known."""
        found = np.zeros((len(moments), self.n_items), dtype=np.float32)
        order = np.argsort(moments, kind="stable")
        counts, now = np.zeros(self.n_items), moments[order[0]] if len(order) else 0.0
        place = np.searchsorted(self.times, now - FORGOTTEN * half_life)
        for row in order:
            counts *= 0.5 ** ((moments[row] - now) / half_life)
            now = moments[row]
            end = max(place, np.searchsorted(self.times, now))
            weights = 0.5 ** ((now - self.times[place:end]) / half_life)
            np.add.at(counts, self.items[place:end], weights)
            found[row], place = counts, end
        return found


class Trend(Correction):
    """Adds w log((c_j(t) + a) / (q_j C(t) + a)) to the scores; t is the time of the request.

    c_j(t) are recent counts and C(t) their sum, q_j is the item's share of all training
    interactions. What is chosen as often as ever gets 0, and so does everything when nothing has
    been chosen of late. Half-life, prior a and weight w are no weights that training learns: `fit`
    chooses them on validation rows, and until then w is 0.

    Parameters
    ----------
    counts
        [N] training interactions of each item.
    half_lives
        In seconds, to choose from.
    """

    name = "trend"
    key = "trend_choice"
    numbers = ("half_life", "prior", "weight")
    of_items = ("recent", "usual")
    told_as = "the trend at the time of the request"

    half_life: Tensor
    prior: Tensor
    weight: Tensor
    recent: Tensor
    end: Tensor
    usual: Tensor

    def __init__(self, counts: Tensor, half_lives: list[float]) -> None:
        super().__init__()
        self.half_lives = half_lives
        self.history: RecentCounts | None = None
        for name in (*self.numbers, "end"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        # A served model has no interactions: their counts at the end are all that it needs.
        self.register_buffer("recent", torch.zeros(len(counts)))
        self.register_buffer("usual", counts / counts.sum().clamp(min=1), persistent=False)

    def remember(self, times: Tensor, items: Tensor) -> None:
        """Take the training interactions [I], which tell what was chosen before any moment."""
        self.history = RecentCounts(times.numpy(), items.numpy(), len(self.usual))

    def reads(self, model: SequentialRecommender, interaction: Interaction) -> tuple[Tensor]:
        """Return the time of each request, [B] float64 seconds."""
        del model
        return (interaction[SECONDS],)

    def forward(self, scores: Tensor, moments: Tensor) -> Tensor:
        """Return the scores [B, N] at moments [B], float64 seconds, with what the trend adds."""
        recent = self._recent(moments, float(self.half_life))
        return scores + float(self.weight) * self._ratio(recent, float(self.prior))

    def _recent(self, moments: Tensor, half_life: float) -> Tensor:
        """Return c [B, N]."""
        if self.history is None:
            passed = (moments - self.end).clamp(min=0) / half_life
            return self.recent * (0.5**passed).float().unsqueeze(1)
        counts = self.history.at(moments.cpu().numpy(), half_life)
        return torch.from_numpy(counts).to(self.usual.device)

    def _ratio(self, recent: Tensor, prior: float) -> Tensor:
        expected = self.usual * recent.sum(1, keepdim=True)
        return torch.log((recent + prior) / (expected + prior))

    def evidence(self, scores: Tensor, moments: Tensor, targets: Tensor) -> Tensor:
        """Return each target's gain under each choice, [B, C].

        Parameters
        ----------
        scores
            [B, N] without trend; -inf where an item is no candidate.
        moments, targets
            [B].
        """
        found = []
        for half_life in self.half_lives:
            recent = self._recent(moments, half_life)
            for prior in PRIORS:
                ratio = self._ratio(recent, prior)
                found += [discounted_gain(scores + w * ratio, targets) for w in WEIGHTS]
        return torch.stack(found, dim=1)

    def fit(self, evidence: Tensor) -> None:
        """Choose by the mean of gains [R, C] over validation rows."""
        best = int(evidence.mean(0).argmax())
        rest, weight = divmod(best, len(WEIGHTS))
        half_life, prior = divmod(rest, len(PRIORS))
        self.choose(self.half_lives[half_life], PRIORS[prior], WEIGHTS[weight])

    def choose(self, *values: float) -> None:
        """Take half-life (seconds), prior (interactions) and weight; a weight of 0 adds nothing."""
        if not values[-1]:
            self.forget()
            return
        assert self.history is not None
        super().choose(*values)
        self.end.fill_(float(self.history.times[-1]) + 1)  # the newest has happened by then
        self.recent.copy_(self._recent(self.end.unsqueeze(0), values[0])[0])

    def forget(self) -> None:
        """Add nothing again."""
        for value in self.state_dict().values():
            value.zero_()

    def told(self) -> str:
        """Say what was chosen."""
        days = float(self.half_life) / 86400
        return (
            f"half-life {days:g} days, prior {float(self.prior):g}, weight {float(self.weight):g}"
        )
