"""FullSortRecommender: a model whose scores of all items are all that it computes."""

from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor


class FullSortRecommender(SequentialRecommender):
    """Scores single items by picking them out of `full_sort_predict`, which a subclass defines."""

    input_type = InputType.POINTWISE

    def predict(self, interaction: Interaction) -> Tensor:
        """Score the item of each row, [B]."""
        items = interaction[self.ITEM_ID].unsqueeze(1)
        return self.full_sort_predict(interaction).gather(1, items).squeeze(1)
