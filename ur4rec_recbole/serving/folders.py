"""A recommender on disk: a folder that needs neither data set nor unpickling.

recommender.json         settings, tokens of items and users, titles, what wrote the tables
recommender.safetensors  weights, feature vectors, counts, histories of users
text_encoder.npz         what the encoder of the texts has learned, where it is one that learns
manifest.json            version and the SHA-256 of the others; written last

A folder whose files do not match its manifest is refused: it is half written, or damaged.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from ur4rec_recbole.core.config import check_rules, schema
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, parse_json, require_writable, write_json
from ur4rec_recbole.core.shapes import ANYTHING, Maybe, Values, check
from ur4rec_recbole.data.modalities import ItemFeatures, Modalities, Origin, Scaling
from ur4rec_recbole.data.profiles import ProfileIndex
from ur4rec_recbole.model.stages import SCORES
from ur4rec_recbole.serving.bank import modalities_of
from ur4rec_recbole.serving.histories import UserHistories
from ur4rec_recbole.serving.index import Index
from ur4rec_recbole.serving.network import ServedUR4Rec, Settings

VERSION = 1
SHAPE = {
    "settings": Values(ANYTHING),
    "items": [str],
    "users": [str],
    "titles": Values(str),
    "origins": Values({"encoder": Maybe(str), "version": Maybe(str)}),
}
ABOUT, TENSORS, MANIFEST = "recommender.json", "recommender.safetensors", "manifest.json"
ENCODER = "text_encoder.npz"


def exists(folder: Path) -> bool:
    """Tell whether a folder holds a recommender."""
    return (folder / MANIFEST).is_file() and (folder / ABOUT).is_file()


def write(
    folder: Path,
    index: Index,
    histories: UserHistories,
    titles: Mapping[str, str],
    learned: Path | None = None,
) -> None:
    """Write a recommender of UR4Rec with the items that were added to it."""
    network = index.network
    if not isinstance(network, ServedUR4Rec):
        raise InputError(
            "save", "needs a model of UR4Rec", type(network).__name__,
            "Keep the run's folder, which can be served as it is.",
        )  # fmt: skip
    require_writable("save", folder)
    modalities = modalities_of(network.features)
    tensors = _tensors(network, modalities, histories)
    origins = {
        name: {"encoder": feature.origin.encoder, "version": feature.origin.version}
        for name, feature in modalities.items.items()
    }
    about = {
        "settings": dict(network.config),
        "items": list(index.tokens),
        "users": histories.tokens,
        "titles": dict(titles),
        "origins": origins,
        "profile_base": network.features.profile_base,
    }
    packed = pack_tensors({name: each.clone().contiguous() for name, each in tensors.items()})
    text = json.dumps(about, ensure_ascii=False).encode("utf-8")
    contents = {TENSORS: packed, ABOUT: text}
    if learned is not None and learned.is_file():
        contents[ENCODER] = learned.read_bytes()
    for name, content in contents.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    hashes = {name: sha256(content) for name, content in contents.items()}
    write_json(folder / MANIFEST, {"version": VERSION, "model": "UR4Rec", "sha256": hashes})


def _tensors(
    network: ServedUR4Rec, modalities: Modalities, histories: UserHistories
) -> dict[str, Tensor]:
    """Return all arrays of a recommender by name."""
    tensors = {f"weights/{name}": value for name, value in network.grown_weights().items()}
    tensors["counts"] = network.counts
    for name, feature in modalities.items.items():
        tensors |= {f"{name}/vectors": feature.vectors, f"{name}/present": feature.present}
        tensors |= _pack_scaling(name, feature.origin.scaling)
    if modalities.profile is not None:
        tensors["profile/vectors"] = modalities.profile.vectors
        tensors["profile/keys"] = modalities.profile.keys
    for name in ("offsets", "items", "times"):
        array = np.ascontiguousarray(getattr(histories, name))
        tensors[f"histories/{name}"] = torch.from_numpy(array)
    return tensors


def read(folder: Path) -> tuple[Index, UserHistories, dict[str, str], Path | None]:
    """Read what `write` wrote; `InputError` for anything else."""
    try:
        manifest = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
        names = [TENSORS, ABOUT, *(name for name in manifest["sha256"] if name == ENCODER)]
        contents = {name: (folder / name).read_bytes() for name in names}
        wrong = [name for name, content in contents.items()
                 if manifest["sha256"][name] != sha256(content)]  # fmt: skip
        if manifest["version"] != VERSION or wrong:
            raise ValueError(f"version {manifest['version']}, other content in {wrong}")
        about = parse_json(contents[ABOUT].decode())
        check(about, SHAPE, folder / ABOUT, "Save the model again.")
        learned = folder / ENCODER if ENCODER in contents else None
        return (*_assembled(about, read_tensors(contents[TENSORS])), learned)
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
            ArithmeticError, SafetensorError) as error:  # fmt: skip
        raise InputError(
            f"Model folder {folder}", f"must hold {ABOUT}, {TENSORS} and {MANIFEST} that fit",
            f"{type(error).__name__}: {' '.join(str(error).split())}"[:300],
            "Save the model again.",
        ) from error  # fmt: skip


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder, {} where it has none that can be read."""
    try:
        return dict(parse_json((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _assembled(
    about: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[Index, UserHistories, dict[str, str]]:
    items = {
        name: ItemFeatures(
            tensors[f"{name}/vectors"],
            tensors[f"{name}/present"],
            Origin(_unpack_scaling(name, tensors), told["encoder"], told["version"]),
        )
        for name, told in about["origins"].items()
    }
    profile = None
    if "profile/keys" in tensors:
        vectors, keys = tensors["profile/vectors"], tensors["profile/keys"]
        profile = ProfileIndex(vectors, keys, about["profile_base"])
    weights = {
        name.removeprefix("weights/"): value
        for name, value in tensors.items()
        if name.startswith("weights/")
    }
    settings, counts = Settings(about["settings"]), tensors["counts"]
    check_rules(settings, schema("UR4Rec"))
    if any(each.is_floating_point() and not each.isfinite().all() for each in tensors.values()):
        raise ValueError("numbers that are not finite")
    if int(weights["score"]) not in range(len(SCORES)) or (counts < 0).any():
        raise ValueError(f"score {int(weights['score'])}, or counts below 0")
    network = ServedUR4Rec(settings, counts, Modalities(items, profile), weights)
    past = (tensors[f"histories/{name}"].numpy() for name in ("offsets", "items", "times"))
    index, histories = (
        Index(about["items"], network, settings),
        UserHistories(about["users"], *past),
    )
    if len(index.tokens) != len(counts) or len(index.ids) != len(counts) - 1:
        raise ValueError(f"{len(index.tokens)} items with {len(counts)} counts, or one twice")
    _check_histories(histories, len(counts))
    return index, histories, about["titles"]


def _check_histories(histories: UserHistories, n_items: int) -> None:
    """Raise `ValueError` for interactions of users or items that there are not."""
    offsets, items, count = histories.offsets, histories.items, len(histories.items)
    sound = (
        len(offsets) == len(histories.tokens) + 1
        and (offsets[0], offsets[-1]) == (0, count)
        and count == len(histories.times)
        and (np.diff(offsets) >= 0).all()
        and np.issubdtype(items.dtype, np.integer)
        and ((items > 0) & (items < n_items)).all()
    )
    if not sound:
        raise ValueError("histories of other users or items")


def _pack_scaling(name: str, scaling: Scaling | None) -> dict[str, Tensor]:
    if scaling is None:
        return {}
    fields = scaling._asdict() | {"factor": np.array(scaling.factor)}
    return {
        f"{name}/scaling/{key}": torch.from_numpy(np.ascontiguousarray(value))
        for key, value in fields.items()
        if value is not None
    }


def _unpack_scaling(name: str, tensors: Mapping[str, Tensor]) -> Scaling | None:
    found: dict[str, Any] = {
        key: tensors[f"{name}/scaling/{key}"].numpy()
        for key in Scaling._fields
        if f"{name}/scaling/{key}" in tensors
    }
    if not found:
        return None
    return Scaling(**found | {"factor": found["factor"].item()})


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
