"""NewItems: items without training interactions get a share of the places, by an offset.

Beside items that people are known to choose, one that nobody could have chosen yet hardly reaches
a list by its content alone. How many places it should have is the shop's to say; which of them,
the scores.
"""

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from ur4rec_recbole.model.corrections import DEPTH, Correction


class NewItems(Correction):
    """Adds an offset to the scores of new items, one for all of them and of either sign.

    With the offset that `fit` finds they take a share of the first ten places, in the mean over
    validation rows: more where the history is one that new items suit. A row without a history is
    left as it is, since popularity says nothing of them.

    Parameters
    ----------
    share
        That share, 0 to 1.
    """

    name = "new_items"
    key = "new_item_offset"
    numbers = ("offset",)
    told_as = "places for new items"
    has_price = True

    offset: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = self.reached = share
        self.register_buffer("offset", torch.zeros(()))

    def reads(self, model: SequentialRecommender, interaction: Interaction) -> tuple[Tensor]:
        """Return which items are new, [B, N] bool; none for a row without a history."""
        begun = model.scorable()[interaction[model.ITEM_SEQ]].any(1, keepdim=True)
        return ((model.popularity == 0) & begun,)

    def forward(self, scores: Tensor, new: Tensor) -> Tensor:
        """Return the scores [B, N] with the offset."""
        return torch.where(new, scores + self.offset, scores)

    def evidence(self, scores: Tensor, new: Tensor, targets: Tensor) -> Tensor:
        """Return the offsets at which each row has one more new item in its list, [B, ten].

        The m-th best new item is among the first ten as soon as it passes the (11 - m)-th best
        known one. inf where there is no m-th, -inf where there is no known one to pass.
        """
        del targets
        depth = min(DEPTH, scores.shape[1])
        best = scores.masked_fill(new, -torch.inf).topk(depth).values.flip(1)
        newest = scores.masked_fill(~new, -torch.inf).topk(depth).values
        return (best - newest).masked_fill(newest == -torch.inf, torch.inf)

    def fit(self, evidence: Tensor) -> None:
        """Choose by the offsets [R, ten] of validation rows."""
        offsets = evidence[evidence.isfinite()].sort().values
        if not len(offsets):  # no new item, or no other
            self.forget()
            return
        places = int((evidence < torch.inf).any(1).sum()) * evidence.shape[1]
        at_any = int((evidence == -torch.inf).sum())  # places for which there is nothing else
        taken = min(max(round(self.share * places) - at_any, 0), len(offsets))
        self.reached = (taken + at_any) / places
        around = torch.cat([offsets[:1] - 1, offsets, offsets[-1:] + 1])
        self.choose(float(around[taken : taken + 2].mean()))

    def told(self) -> str:
        """Say what was chosen."""
        return f"{self.reached:.0%} of the first {DEPTH}, by an offset of {float(self.offset):+.3f}"
