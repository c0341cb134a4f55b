"""Beginning with the weights of a run on other data, or on the same data as they were before.

Encoder, content projections, experts and fusion are taken over as they are; ids by token. Items and
users that the run did not know begin as in any training: an item from its content alone.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.archives import read_all
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.fingerprints import table_hashes
from ur4rec_recbole.data.modalities import item_tables
from ur4rec_recbole.model import saved
from ur4rec_recbole.model.build import CORRECTIONS

IDS = "item_embedding.id.weight"
# No weights: validation rows choose them anew.
CHOSEN = tuple(f"{each.name}." for each in CORRECTIONS)


def begin_from(network: Any, config: Any, train: Any) -> None:
    """Load into a new UR4Rec what the run folder `init_from` has learned.

    Raises
    ------
    InputError
        Where the encoders differ in shape, or a table's vectors mean something else than those
        that the run has learned to read.
    """
    folder = Path(config["init_from"])
    given = saved.read(folder)
    _check_tables(config, given.inputs)
    own = network.state_dict()
    taken = {
        key: given.state_dict[key]
        for key, value in own.items()
        if key != IDS
        and not key.startswith(CHOSEN)
        and _shape(given.state_dict, key) == value.shape
    }
    other = [key for key in own if key.startswith("encoder.") and key not in taken]
    if other:
        raise InputError(
            f"init_from {folder}", "must be a run with an encoder of the same sizes",
            f"other shapes of {len(other)} weights, such as {other[0]}",
            "Use that run's sizes: hidden_size, n_layers, n_heads, inner_size, lists, times.",
        )  # fmt: skip
    if IDS in own and IDS in given.state_dict:
        taken[IDS] = _by_token(own[IDS], given.state_dict[IDS], folder, train)
    network.load_state_dict(taken, strict=False)


def _shape(weights: dict[str, Tensor], key: str) -> Any:
    return weights[key].shape if key in weights else None


def _by_token(own: Tensor, given: Tensor, folder: Path, train: Any) -> Tensor:
    """Give each item that the run knew its id vector of then."""
    try:
        tokens = read_all(folder / saved.TOKENS)["items"].tolist()
    except (ValueError, KeyError) as error:
        raise InputError(
            str(folder / saved.TOKENS), "must hold the items of the run", error, saved.REMEDY
        ) from error
    before = {str(token): index for index, token in enumerate(tokens) if index < len(given)}
    rows = [before.get(str(token), 0) for token in train.field2id_token[train.iid_field]]
    row = torch.tensor(rows, device=own.device)
    return torch.where((row > 0).unsqueeze(1), given.to(own.device)[row], own)


def _check_tables(config: Any, inputs: dict[str, str]) -> None:
    """Refuse tables whose axes belong to their own texts, unless they are the run's own."""
    hashes = table_hashes(config)
    for key, path in item_tables(config).values():
        if hashes.get(key) == inputs.get(key):
            continue
        encoder = str(FeatureTable.load(path).provenance["encoder"])
        if "tfidf" in encoder or encoder.startswith("random"):
            raise InputError(
                f"{key} {path}", "must come from an encoder that reads all texts alike",
                f"{encoder}, whose axes belong to the texts of one data set",
                "Make both tables with a sentence encoder.",
            )  # fmt: skip
