"""Makes the models known to every entry point of RecBole; runs when the package is imported.

RecBole looks models up as recbole.model.<kind>.<name>, trainers and data sets as attributes of its
own modules and defaults in its own folder, and has no plug-in interface. The classes keep their
module in this package, so that unpickling a checkpoint imports, and thereby registers, it.
"""

import sys
from typing import Any

import recbole.data.dataset
import recbole.trainer
from recbole.config import Config
from recbole.trainer import TraditionalTrainer

from ur4rec_recbole.core import config
from ur4rec_recbole.patches import compat
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.model import ensemble, item_to_item, ur4rec
from ur4rec_recbole.training.ensemble import UR4RecEnsembleTrainer
from ur4rec_recbole.training.trainer import UR4RecTrainer

# What RecBole calls <model>, <model>Dataset and <model>Trainer.
CLASSES = {
    "UR4Rec": (ur4rec, UR4RecDataset, UR4RecTrainer),
    "UR4RecEnsemble": (ensemble, UR4RecDataset, UR4RecEnsembleTrainer),
    "ItemTransition": (item_to_item, UR4RecDataset, TraditionalTrainer),
    "SequentialEASE": (item_to_item, UR4RecDataset, TraditionalTrainer),
}


def register() -> None:
    """Register models, data sets, trainers and defaults; a second call changes nothing."""
    compat.apply()
    for name, (module, dataset, trainer) in CLASSES.items():
        sys.modules[f"recbole.model.sequential_recommender.{name.lower()}"] = module
        setattr(recbole.data.dataset, f"{name}Dataset", dataset)
        setattr(recbole.trainer, f"{name}Trainer", trainer)
    if not hasattr(Config._load_internal_config_dict, "with_ur4rec"):
        Config._load_internal_config_dict = _with_defaults(Config._load_internal_config_dict)


def _with_defaults(load: Any) -> Any:
    """Wrap RecBole's loading of defaults to add, and then to check, those of this package."""

    def load_with_ur4rec(self: Config, model: str, model_class: type, dataset: str) -> None:
        load(self, model, model_class, dataset)
        if model not in CLASSES:
            return
        given = {**self.file_config_dict, **self.variable_config_dict}
        config.check_known(given, self.internal_config_dict, model)
        self.internal_config_dict.update(config.defaults(model))
        config.check_values({**self.internal_config_dict, **self.external_config_dict}, model)
        self.parameters["UR4Rec"] = list(config.schema(model))

    load_with_ur4rec.with_ur4rec = True  # type: ignore[attr-defined]
    return load_with_ur4rec
