"""The lists of a batch: what it holds of each history, the fields whose names end in a suffix."""

from collections.abc import Callable

from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from ur4rec_recbole.data.dataset import SECONDS


def with_lists(
    interaction: Interaction, suffix: str, change: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return the fields of a batch by name, its lists [B, L, ...] changed."""
    fields = interaction.interaction.items()
    return {name: change(v) if name.endswith(suffix) else v for name, v in fields}


def newest(listed: Tensor, lengths: Tensor) -> Tensor:
    """Return the value of a list [B, L] at each row's newest item, [B]; lengths are [B]."""
    return listed.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)


def moments(model: SequentialRecommender, interaction: Interaction) -> Tensor:
    """Return when each row is asked, [B] float64 seconds.

    That is the time of the request, or of the newest item for a model that does not read it.
    """
    if model.config["request_time"]:
        return interaction[SECONDS]
    return newest(interaction[model.times], interaction[model.ITEM_SEQ_LEN])
