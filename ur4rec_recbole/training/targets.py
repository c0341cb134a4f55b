"""Which rows of a validation batch are of targets."""

from typing import Any

from recbole.data.dataloader import NegSampleEvalDataLoader
from recbole.data.interaction import Interaction


def of_targets(batch: Interaction, data: Any) -> Interaction:
    """Leave out the drawn items that RecBole's sampled modes (`uni100`) put beside each target."""
    if not isinstance(data, NegSampleEvalDataLoader):
        return batch
    return batch[batch[data.config["LABEL_FIELD"]] > 0]
