"""RareItems: a boost for items that training has hardly had, as high as its price allows.

A model that ranks well as a whole ranks what it has hardly seen too low: each such item by itself
is a poor bet. A shop that wants them seen pays for it in other hits; it names the price, and
validation rows say what it buys.
"""

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from ur4rec_recbole.evaluation.subsets import COLD
from ur4rec_recbole.model.corrections import DEPTH, Correction
from ur4rec_recbole.model.scores import discounted_gain

BOOSTS = tuple(step / 10 for step in range(1, 16))  # what validation rows choose among


class RareItems(Correction):
    """Adds a boost to the scores of items with at most five training interactions.

    Where scores are logits, exp(boost) is how many times likelier such an item becomes. `fit` takes
    the boost with which rare targets gain most, of those that take no more than a share `cost` of
    the NDCG@10 of all rows that it is shown, all items being candidates.

    Parameters
    ----------
    cost
        That share, 0 to 1; the price.

    Source: Menon et al. 2021, section 4.1 (an offset of the logits after training), by a threshold
    in place of the frequency: against popularity as a whole it costs several times as much.
    """

    name = "rare_items"
    key = "rare_item_boost"
    numbers = ("boost",)
    told_as = "a boost of rare items"
    has_price = True

    boost: Tensor

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost
        self.register_buffer("boost", torch.zeros(()))

    def reads(self, model: SequentialRecommender, interaction: Interaction) -> tuple[Tensor]:
        """Return which items are rare, [N] bool."""
        del interaction
        return (model.popularity.expm1().round() <= COLD,)

    def forward(self, scores: Tensor, rare: Tensor) -> Tensor:
        """Return the scores [B, N] with the boost."""
        return scores + self.boost * rare

    def evidence(self, scores: Tensor, rare: Tensor, targets: Tensor) -> Tensor:
        """Return whether each target is rare, and its gain without and with each boost, [B, C]."""
        boosted = (scores + boost * rare for boost in (0.0, *BOOSTS))
        gains = [discounted_gain(each, targets, DEPTH) for each in boosted]
        return torch.stack([rare[targets].to(scores.dtype), *gains], dim=1)

    def fit(self, evidence: Tensor) -> None:
        """Choose by the gains [R, C] of validation rows."""
        is_rare, gains = evidence[:, 0], evidence[:, 1:]
        whole, of_rare = gains.mean(0), is_rare @ gains
        affordable = whole >= (1 - self.cost) * whole[0]
        best = int(of_rare.masked_fill(~affordable, -1.0).argmax())
        self.choose((0.0, *BOOSTS)[best])

    def told(self) -> str:
        """Say what was chosen."""
        return f"{float(self.boost):g} for items with at most {COLD} training interactions"
