"""A trained model on disk, readable without unpickling.

model.safetensors  weights, and arrays that a model keeps beside them (EASE's matrix)
model.json         model, data set, configuration, other parameters, hashes of the inputs
tokens.npz         "users" [U] and "items" [N] in the order of the internal ids; 0 is padding

RecBole's own checkpoint is a pickle: `save_checkpoint` of a trainer writes it for RecBole's tools.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.config import Config
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as pack_tensors
from scipy import sparse
from torch import Tensor, nn

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import ASKING, PLACE, defaults_file, schema
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, write_json
from ur4rec_recbole.core.shapes import ANYTHING, Maybe, Values, check
from ur4rec_recbole.data.fingerprints import INPUTS
from ur4rec_recbole.patches.torch_load import PRETRAINED

WEIGHTS, ABOUT, TOKENS = "model.safetensors", "model.json", "tokens.npz"
SETTINGS = {"model": str, "dataset": str, "settings": Values(ANYTHING)}
SHAPE = SETTINGS | {"inputs": Values(str), "members": Maybe([SETTINGS])}
REMEDY = "Train the model again."
# Settings that name pickles: a folder from elsewhere does not choose what is unpickled.
PICKLES = (
    "members", "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"
)  # fmt: skip


class Saved(NamedTuple):
    """What a folder or a checkpoint file holds of a model.

    Attributes
    ----------
    config
        Made anew from the settings, for this machine.
    state_dict
        Weights by name.
    other_parameter
        What RecBole's `load_other_parameter` takes.
    inputs
        SHA-256 of the data and of each table, as `data.fingerprints.inputs` returns them; empty
        where unknown.
    """

    config: Config
    state_dict: dict[str, Tensor]
    other_parameter: Any
    inputs: dict[str, str]

    def load_into(self, network: Any) -> None:
        """Give a new model these weights."""
        network.load_state_dict(self.state_dict)
        network.load_other_parameter(self.other_parameter)


def save(folder: Path, network: Any, config: Config, inputs: Mapping[str, str]) -> None:
    """Write a trained model into an existing folder."""
    arrays = {f"weights/{key}": value for key, value in network.state_dict().items()}
    about = {
        **_settings(config),
        "inputs": dict(inputs),
        "members": [_settings(each) for each in config["member_configs"] or []],
        "other_parameter": _pack(network.other_parameter(), "other", arrays),
    }
    # Each tensor on its own: safetensors refuses those that share memory.
    packed = pack_tensors({key: each.detach().cpu().clone() for key, each in arrays.items()})
    with atomic_write(folder / WEIGHTS, make_folder=False) as file:
        file.write(packed)
    write_json(folder / ABOUT, about, make_folder=False)


def save_tokens(folder: Path, dataset: Any) -> None:
    """Write the tokens of users and items in the order of their internal ids."""
    users, items = (
        np.asarray(dataset.field2id_token[field], dtype=str)
        for field in (dataset.uid_field, dataset.iid_field)
    )
    with atomic_write(folder / TOKENS, make_folder=False) as file:
        np.savez_compressed(file, users=users, items=items)


def exists(folder: Path) -> bool:
    """Tell whether a folder holds a model."""
    return (folder / ABOUT).is_file()


def read(folder: Path) -> Saved:
    """Read a model's folder; `InputError` where it holds none that is whole."""
    file = folder / ABOUT
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        arrays = read_tensors((folder / WEIGHTS).read_bytes())
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise InputError(
            str(folder), f"must hold a readable {ABOUT} and {WEIGHTS}", error, REMEDY
        ) from error
    check(about, SHAPE, file, REMEDY)
    config = configuration(about)
    members = [configuration(each) for each in about.get("members") or []]
    if members:
        config["member_configs"] = members
    state = {
        key.removeprefix("weights/"): value
        for key, value in arrays.items()
        if key.startswith("weights/")
    }
    try:
        other = _unpack(about.get("other_parameter"), arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}: other_parameter", f"must belong to {WEIGHTS}", repr(error), REMEDY
        ) from error
    return Saved(config, state, other, about["inputs"])


def read_checkpoint(file: Path) -> Saved:
    """Read a checkpoint of RecBole's form, which unpickles it: a file that the user has named."""
    try:
        held = torch.load(file, map_location="cpu", weights_only=False)
        config, state = held["config"], held["state_dict"]
        about = _settings(config)
    except Exception as error:  # unpickling raises whatever the file makes it raise
        raise InputError(
            str(file), "must be a checkpoint of RecBole's form", f"{type(error).__name__}: {error}",
            "Check the path, or train the model again.",
        ) from error  # fmt: skip
    inputs = config[INPUTS] or {}
    members = config["member_configs"]
    if defaults_file(config["model"]).exists():  # it may be older than some of our keys
        config = configuration(about)
        config["member_configs"] = members
    return Saved(config, state, held.get("other_parameter"), inputs)


def configuration(about: Mapping[str, Any]) -> Config:
    """Make a Config anew from a model's name, its data set's and its settings."""
    settings = without_pickles(about["model"], about["settings"])
    with settings_from():  # the command line is not this model's
        return Config(about["model"], about["dataset"], None, settings)


def without_pickles(
    model: str, settings: Mapping[str, Any], named: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a model's settings, as a folder has them, that let nothing be unpickled.

    Raises `InputError` for one of RecBole's models that begins with a pickle, unless the caller has
    `named` the same file under the same key.
    """
    named = named or {}
    beginnings = {place.rpartition(".")[2]: keys for place, keys in PRETRAINED.items()}
    for key in beginnings.get(model, ()):
        if settings.get(key) and settings[key] != named.get(key):
            raise InputError(
                f"Configuration key {key!r}", "must be unset in a folder: it would be unpickled",
                settings[key], "Name the model's checkpoint file (.pth), or train it again.",
            )  # fmt: skip
    return {key: value for key, value in settings.items() if key not in PICKLES}


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that rebuild the configuration: the user's, and our present defaults."""
    own = schema(config["model"]) if defaults_file(config["model"]).exists() else {}
    before = config.internal_config_dict  # before RecBole has completed its values
    values = {key: before[key] for key in own if key in before} | config.external_config_dict
    skipped = ("model", "dataset", "member_configs", "run_folder", *ASKING, *PLACE)
    plain = {key: each for key, each in values.items() if key not in skipped and _is_plain(each)}
    return {"model": config["model"], "dataset": config["dataset"], "settings": plain}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


def _pack(value: Any, name: str, arrays: dict[str, Tensor]) -> Any:
    """Return a value as JSON, its arrays put into `arrays` under names that the JSON tells."""
    if isinstance(value, Mapping):
        return {"mapping": {key: _pack(value[key], f"{name}/{key}", arrays) for key in value}}
    if isinstance(value, list | tuple):
        return {"list": [_pack(e, f"{name}/{i}", arrays) for i, e in enumerate(value)]}
    if isinstance(value, nn.Module):
        return {"module": name}  # its weights are among the model's
    if isinstance(value, Tensor):
        arrays[name] = value
        return {"tensor": name}
    if isinstance(value, np.ndarray | np.matrix):
        arrays[name] = torch.from_numpy(np.asarray(value))
        return {"matrix" if isinstance(value, np.matrix) else "array": name}
    if sparse.issparse(value):
        parts = value.tocoo()
        for part in ("data", "row", "col"):
            arrays[f"{name}/{part}"] = torch.from_numpy(getattr(parts, part))
        return {"sparse": name, "format": value.format, "shape": list(value.shape)}
    value = value.item() if isinstance(value, np.generic) else value
    return {"plain": value} if _is_plain(value) else {"text": repr(value)}


def _unpack(value: Any, arrays: Mapping[str, Tensor]) -> Any:
    """Undo `_pack`; modules are left out, since the model has its own."""
    [kind] = set(value or {"plain": None}) & {
        "mapping", "list", "module", "tensor", "array", "matrix", "sparse", "plain", "text",
    }  # fmt: skip
    held = (value or {"plain": None})[kind]
    if kind == "mapping":
        return {key: _unpack(each, arrays) for key, each in held.items() if "module" not in each}
    if kind == "list":
        return [_unpack(each, arrays) for each in held]
    if kind == "tensor":
        return arrays[held]
    if kind in ("array", "matrix"):
        values = arrays[held].numpy()
        return np.asmatrix(values) if kind == "matrix" else values
    if kind == "sparse":
        data, row, col = (arrays[f"{held}/{part}"].numpy() for part in ("data", "row", "col"))
        return sparse.coo_matrix((data, (row, col)), value["shape"]).asformat(value["format"])
    if kind == "text":
        raise ValueError(f"{held} cannot be kept without pickling")
    return held
