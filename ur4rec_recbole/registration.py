"""Makes 'UR4Rec' known to every entry point of RecBole; runs when the package is imported.

RecBole looks models up as recbole.model.<kind>.<name>, trainers and data sets as attributes of its
own modules and defaults in its own folder, and has no plug-in interface. The classes keep their
module in this package, so that unpickling a checkpoint imports, and thereby registers, it.
"""

import sys
from typing import Any

import recbole.data.dataset
import recbole.trainer
from recbole.config import Config

from ur4rec_recbole import compat, config
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.model import ur4rec
from ur4rec_recbole.trainer.trainer import UR4RecTrainer

MODEL = "UR4Rec"


def register() -> None:
    """Register the model, its data set, trainer and defaults; a second call changes nothing."""
    compat.apply()
    sys.modules[f"recbole.model.sequential_recommender.{MODEL.lower()}"] = ur4rec
    recbole.trainer.UR4RecTrainer = UR4RecTrainer
    recbole.data.dataset.UR4RecDataset = UR4RecDataset
    if not hasattr(Config._load_internal_config_dict, "with_ur4rec"):
        Config._load_internal_config_dict = _with_defaults(Config._load_internal_config_dict)


def _with_defaults(load: Any) -> Any:
    """Wrap RecBole's loading of defaults to add, and then to check, those of UR4Rec."""

    def load_with_ur4rec(self: Config, model: str, model_class: type, dataset: str) -> None:
        load(self, model, model_class, dataset)
        if model != MODEL:
            return
        given = {**self.file_config_dict, **self.variable_config_dict}
        config.check_known(given, known=self.internal_config_dict)
        self.internal_config_dict.update(config.defaults())
        config.check_values({**self.internal_config_dict, **self.external_config_dict})
        self.parameters["UR4Rec"] = list(config.schema())

    load_with_ur4rec.with_ur4rec = True  # type: ignore[attr-defined]
    return load_with_ur4rec
