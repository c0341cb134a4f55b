"""Members of an ensemble, trained from their recipes where no checkpoint of them exists yet.

`members:` of UR4RecEnsemble may hold checkpoint files and recipes. A recipe is trained once, as
`run_recbole.py` would but without reading test data, and kept under a name that its settings
determine: a run that was killed goes on with the first member that is missing. How long its
training took is kept beside it: runs may share members, but each ensemble costs all of its own.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock, read_json, write_json
from ur4rec_recbole.runs.assembly import build_trainer, load_data

# What a recipe has of the ensemble's own configuration, where that sets it, unless it says other.
INHERITED = ("eval_args", "load_col", "checkpoint_dir", "gpu_id", "use_gpu", "state")


def prepare(config: Config) -> list[str]:
    """Return the checkpoint files of all members, training those that are missing.

    Parameters
    ----------
    config
        Of the ensemble. An entry of its `members` is a file, or a mapping with `model`, optionally
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
                "members", "must list checkpoint files, or mappings with the key model",
                repr(entry), "Write for example {model: UR4Rec, seeds: 2}.",
            )  # fmt: skip
        recipe = dict(entry)
        for place in range(recipe.pop("seeds", 1)):
            files.append(_trained(config, recipe | {"seed": config["seed"] + place}))
    return files


def cost(files: Sequence[str]) -> list[dict[str, Any]]:
    """Return `member` (name of its file) and `seconds` of each; None where no recipe made it.

    The seconds are of loading its data and training it, whenever that was.
    """
    return [{"member": Path(file).stem, "seconds": _seconds(Path(file))} for file in files]


def _seconds(file: Path) -> float | None:
    record = read_json(_record(file))
    return record["seconds"] if record else None


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.cost.json")  # a user's file may have a .json beside it


def _trained(ensemble: Config, recipe: dict[str, Any]) -> str:
    """Return the checkpoint of one recipe."""
    given = ensemble.external_config_dict
    recipe = {key: given[key] for key in INHERITED if key in given} | recipe
    recipe["data_path"] = str(Path(ensemble["data_path"]).parent)  # RecBole appends the name
    files = recipe.pop("config_files", [])
    with settings_from():  # the command line is the ensemble's
        config = Config(recipe.pop("model"), ensemble["dataset"], files or None, recipe)
    target = Path(config["checkpoint_dir"]) / "members" / f"{_name(config)}.pth"
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(
        f"{target}.lock"
    ):  # ensembles that run beside this one may share the member
        if target.exists() and _record(target).exists():
            getLogger().info(f"member {target} exists")
        else:
            getLogger().info(f"training member {target}")
            _train(config, target)
    return str(target)


def _train(config: Config, target: Path) -> None:
    """Train a member and keep its checkpoint, and how long it took."""
    began = time.perf_counter()
    train_data, valid_data, _ = load_data(config)
    trainer = build_trainer(config, train_data)
    partial = f"{target}.part"
    trainer.saved_model_file = partial
    trainer.fit(train_data, valid_data, verbose=False)
    write_json(_record(target), {"seconds": time.perf_counter() - began})
    os.replace(partial, target)


def _name(config: Config) -> str:
    """Name a member by its model, data set, seed and a digest of all its settings."""
    settings = {
        key: value
        for key, value in config.final_config_dict.items()
        if isinstance(value, str | int | float | bool | list | dict | None)
        and key not in ("checkpoint_dir", "gpu_id", "use_gpu", "state", "show_progress")
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    return f"{config['model']}-{config['dataset']}-{config['seed']}-{digest.hexdigest()[:12]}"
