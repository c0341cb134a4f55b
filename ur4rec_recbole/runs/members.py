"""Members of an ensemble, trained from their recipes where no checkpoint of them exists yet.

`members:` of UR4RecEnsemble may hold folders of trained models, checkpoint files and recipes. A
recipe is trained once, as `ur4rec train` would but without reading test data, and kept in a folder
whose name its settings, its data and its tables determine: a run that was killed goes on with the
first member that is missing. How long its training took is kept with it: runs may share members,
but each ensemble costs all of its own.
"""

import glob
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.utils.argument_list import dataset_arguments

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock, read_json, write_json
from ur4rec_recbole.core.yaml_files import read_mapping
from ur4rec_recbole.data.fingerprints import INPUTS, inputs, source_hash, table_hashes
from ur4rec_recbole.model import saved
from ur4rec_recbole.model.ensemble import check_same_data
from ur4rec_recbole.registration import check_keys
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.runs.keeping import use_best_weights

COST = "cost.json"

# Keys that a recipe takes over from the ensemble's configuration, unless it sets them itself: where
# it runs, and all that makes the data but for the length of lists.
INHERITED = (
    "checkpoint_dir", "gpu_id", "use_gpu", "state", "eval_args", "encoding",
    *(key for key in dataset_arguments if key != "MAX_ITEM_LIST_LENGTH"),
)  # fmt: skip


def prepare(config: Config) -> list[str]:
    """Return the folders and files of all members, training those that are missing.

    Parameters
    ----------
    config
        Of the ensemble. An entry of its `members` is a path, or a mapping with `model`, optionally
        `config_files` (list), `seeds` (how many: the ensemble's seed and those after it), and any
        keys of that model.
    """
    files = []
    for entry in config["members"] or []:
        if isinstance(entry, str):
            files.append(entry)
            continue
        if not isinstance(entry, Mapping) or "model" not in entry:
            raise InputError(
                "members", "must list folders or checkpoint files, or mappings with the key model",
                repr(entry), "Write for example {model: UR4Rec, seeds: 2}.",
            )  # fmt: skip
        if entry["model"] == "External":
            raise InputError(
                "members", "must be recipes of models that can be kept", repr(entry),
                "Leave it out: of a model of another library there are scores alone.",
            )  # fmt: skip
        recipe = dict(entry)
        seeds = recipe.pop("seeds", 1)
        if type(seeds) is not int or seeds < 1:
            raise InputError(
                "members: seeds", "must be a whole number above 0", repr(seeds),
                "Write how many members the recipe makes.",
            )  # fmt: skip
        for place in range(seeds):
            files.append(_trained(config, recipe | {"seed": config["seed"] + place}))
    return files


def cost(files: Sequence[str]) -> list[dict[str, Any]]:
    """Return `member` (its name) and `seconds` of each; None where no recipe made it.

    The seconds are of loading its data and training it, whenever that was.
    """
    return [{"member": _stem(Path(file)), "seconds": _seconds(Path(file))} for file in files]


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _seconds(folder: Path) -> float | None:
    record = read_json(folder / COST) if folder.is_dir() else None
    return record["seconds"] if record else None


def _trained(ensemble: Config, recipe: dict[str, Any]) -> str:
    """Return the folder of one recipe's model."""
    given = ensemble.external_config_dict
    files = recipe.pop("config_files", [])
    own = recipe.keys() | {key for file in files for key in read_mapping(file, "config_files")}
    recipe |= {key: given[key] for key in INHERITED if key in given and key not in own}
    recipe["data_path"] = str(Path(ensemble["data_path"]).parent)  # RecBole appends the name
    with settings_from():  # the command line is the ensemble's
        config = configuration(recipe.pop("model"), ensemble["dataset"], files, recipe)
        check_keys(config)
    check_same_data(ensemble, config)
    target = Path(config["checkpoint_dir"]) / "members" / _name(config)
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(f"{target}.lock"):  # ensembles that run beside this one may share it
        if saved.exists(target):
            getLogger().info(f"member {target} exists")
        else:
            getLogger().info(f"training member {target}")
            for left in target.parent.glob(f".{glob.escape(target.name)}.*/"):  # by a kill
                shutil.rmtree(left, ignore_errors=True)
            _train(config, target)
    return str(target)


def _train(config: Config, target: Path) -> None:
    """Train a member and keep it, and how long that took."""
    began = time.perf_counter()
    train_data, valid_data, _ = load_data(config)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        folder = Path(place)
        trainer = build_trainer(config, train_data, folder=folder)
        trainer.fit(train_data, valid_data, verbose=False)
        use_best_weights(trainer, valid_data)
        whole = folder / "whole"
        whole.mkdir()
        known = inputs(config, train_data._dataset.fingerprint)
        saved.save(whole, trainer.model, config, known)
        write_json(whole / COST, {"seconds": time.perf_counter() - began})
        whole.replace(target)


def _name(config: Config) -> str:
    """Name a member by its model, data set, seed and a digest of all that shapes it."""
    settings = {
        key: value
        for key, value in config.final_config_dict.items()
        if isinstance(value, str | int | float | bool | list | dict | None)
        and key not in ("checkpoint_dir", "gpu_id", "use_gpu", "state", "show_progress", INPUTS)
    }
    made_from = [settings, source_hash(config), table_hashes(config)]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode())
    return f"{config['model']}-{config['dataset']}-{config['seed']}-{digest.hexdigest()[:12]}"
