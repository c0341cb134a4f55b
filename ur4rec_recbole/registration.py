"""Makes the models known to every entry point of RecBole; runs when the package is imported.

RecBole looks models up as recbole.model.<kind>.<name>, trainers and data sets as attributes of its
own modules and defaults in its own folder, and has no plug-in interface. The classes keep their
module in this package, so that unpickling a checkpoint imports, and thereby registers, it.
"""

import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import recbole.data.dataset
import recbole.model
import recbole.trainer
from recbole.config import Config
from recbole.trainer import TraditionalTrainer
from recbole.utils import ModelType

from ur4rec_recbole.core import config
from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.data import loading, time_split
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.model import (
    content_knn,
    ensemble,
    external,
    item_to_item,
    recent_popularity,
    ur4rec,
)
from ur4rec_recbole.patches import (
    compat,
    config_reading,
    numpy_and_ray,
    several_processes,
    sparse_graphs,
)
from ur4rec_recbole.training.ensemble import UR4RecEnsembleTrainer
from ur4rec_recbole.training.external import ExternalTrainer
from ur4rec_recbole.training.trainer import UR4RecTrainer

# What RecBole calls <model>, <model>Dataset and <model>Trainer.
CLASSES = {
    "UR4Rec": (ur4rec, UR4RecDataset, UR4RecTrainer),
    "UR4RecEnsemble": (ensemble, UR4RecDataset, UR4RecEnsembleTrainer),
    "ItemTransition": (item_to_item, UR4RecDataset, TraditionalTrainer),
    "SequentialEASE": (item_to_item, UR4RecDataset, TraditionalTrainer),
    "External": (external, UR4RecDataset, ExternalTrainer),
    "ContentKNN": (content_knn, UR4RecDataset, TraditionalTrainer),
    "RecentPopularity": (recent_popularity, UR4RecDataset, TraditionalTrainer),
}
# Keys of RecBole's own models whose wrong values would be found when a run has begun.
CHECKED = (
    "seed", "epochs", "learning_rate", "weight_decay", "train_batch_size", "eval_batch_size",
    "MAX_ITEM_LIST_LENGTH", "clip_grad_norm",
)  # fmt: skip


def register() -> None:
    """Register models, data sets, trainers and defaults; a second call changes nothing."""
    patches = (numpy_and_ray, compat, config_reading, several_processes)
    for patch in (*patches, loading, time_split, sparse_graphs):
        patch.apply()
    for name, (module, dataset, trainer) in CLASSES.items():
        sys.modules[f"recbole.model.sequential_recommender.{name.lower()}"] = module
        setattr(recbole.data.dataset, f"{name}Dataset", dataset)
        setattr(recbole.trainer, f"{name}Trainer", trainer)
    if not hasattr(Config._load_internal_config_dict, "with_ur4rec"):
        Config._load_internal_config_dict = _with_defaults(Config._load_internal_config_dict)
        Config._get_model_and_dataset = _with_checked_names(Config._get_model_and_dataset)


def check_keys(found: Config) -> None:
    """Raise `InputError` for unknown keys, and for metrics that do not belong together."""
    known = {*found.internal_config_dict, *config.schema("every_model")}
    if found["model"] not in CLASSES:
        known |= set(config.schema("any_model"))
        config.check_rules(found.external_config_dict, _rules_of_any_model())
        # Defaults of RecBole's models leave out keys that their code reads.
        source = inspect.getsource(sys.modules[found.model_class.__module__])
        known |= set(re.findall(r"config\[[\"'](\w+)[\"']\]", source))
        config.check_metrics(found)
        config.check_split(found["eval_args"])
        config.check_modes(found)
        config.check_contents(found)
    config.check_known(found.external_config_dict, known, found["model"])


def _rules_of_any_model() -> dict[str, config.Rule]:
    """Return the rules of this package's keys and of some of RecBole's, which does not check."""
    known = config.recbole_rules() | config.schema()
    return {key: known[key] for key in CHECKED} | config.schema("any_model")


def model_names() -> list[str]:
    """Return the modules of RecBole's models, and the models of this package."""
    folders = [Path(each) for each in recbole.model.__path__]
    kinds = [str(folder / kind.name) for folder in folders for kind in pkgutil.iter_modules(folders)
             if kind.ispkg]  # fmt: skip
    return [*CLASSES, *(module.name for module in pkgutil.iter_modules(kinds))]


def _with_checked_names(find: Any) -> Any:
    """Wrap RecBole's look-up of model and data set: an unknown name is an `InputError`."""

    def find_checked(self: Config, model: Any, dataset: Any) -> Any:
        given = self.external_config_dict
        for key, named in (("model", model), ("dataset", dataset)):
            value = given.get(key) if named is None else named
            if value is None:
                raise InputError(
                    f"Configuration key {key!r}", "must be set", "nothing",
                    f"Add --{key}=NAME, or `{key}: NAME` to a configuration file.",
                )  # fmt: skip
            path = isinstance(value, str) and (not value or Path(value).name != value)
            if key == "dataset" and (not isinstance(value, str) or path or value in (".", "..")):
                raise InputError(
                    "Configuration key 'dataset'", "must be the name of a folder below data_path",
                    repr(value), "Name the folder alone; data_path says where it lies.",
                )  # fmt: skip
            if key == "model" and not isinstance(value, str | type):
                raise InputError(
                    "Configuration key 'model'", "must be the name of a model", repr(value),
                    "Write for example UR4Rec.",
                )  # fmt: skip
        return _found(find, self, model, dataset)

    return find_checked


def _found(find: Any, found_config: Config, model: Any, dataset: Any) -> Any:
    name = found_config.external_config_dict.get("model") if model is None else model
    try:
        return find(found_config, model, dataset)
    except (ValueError, ImportError, AttributeError) as error:
        missing = "" if isinstance(error, ValueError) else f" ({error})"
        raise InputError(
            "Configuration key 'model'", "must name a model of this package or of RecBole",
            f"{name!r}{missing}",
            nearest(name, model_names()) or "See RecBole's list of models.",
        ) from error  # fmt: skip


def _with_defaults(load: Any) -> Any:
    """Wrap RecBole's loading of defaults to add, and then to check, those of this package."""

    def load_with_ur4rec(self: Config, model: str, model_class: type, dataset: str) -> None:
        load(self, model, model_class, dataset)
        _complete_columns(self, model_class)
        if model not in CLASSES:
            return
        given = {**self.file_config_dict, **self.variable_config_dict}
        config.check_known(given, self.internal_config_dict, model)
        self.internal_config_dict.update(config.defaults(model))
        _complete_split(self)
        values = {**self.internal_config_dict, **self.external_config_dict}
        config.check_values(values, model)
        config.check_metrics(values)
        config.check_split(values["eval_args"])
        config.check_modes(values)
        self.parameters["UR4Rec"] = list(config.schema(model))

    load_with_ur4rec.with_ur4rec = True  # type: ignore[attr-defined]
    return load_with_ur4rec


def _complete_columns(given: Config, model_class: Any) -> None:
    """Load the time, too, for a sequential model whose `load_col` is left at RecBole's default."""
    own, chosen = given.internal_config_dict, given.external_config_dict
    left = "load_col" not in chosen and own.get("load_col") == {"inter": ["user_id", "item_id"]}
    if left and model_class.type == ModelType.SEQUENTIAL and not chosen.get("benchmark_filename"):
        fields = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")
        own["load_col"] = {"inter": [chosen.get(key, own[key]) for key in fields]}


def _complete_split(given: Config) -> None:
    """Complete `eval_args` with a sequential model's defaults, not RecBole's random order."""
    split = given.external_config_dict.get("eval_args")
    if isinstance(split, dict):
        own = given.internal_config_dict["eval_args"]
        given.external_config_dict["eval_args"] = {**own, **split}
