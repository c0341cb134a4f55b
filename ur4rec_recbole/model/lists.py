"""The lists of a batch: what it holds of each history, the fields whose names end in a suffix."""

from collections.abc import Callable

from recbole.data.interaction import Interaction
from torch import Tensor


def with_lists(
    interaction: Interaction, suffix: str, change: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return the fields of a batch by name, its lists [B, L, ...] changed."""
    fields = interaction.interaction.items()
    return {name: change(v) if name.endswith(suffix) else v for name, v in fields}
