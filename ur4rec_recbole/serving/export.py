"""`ur4rec export`: a model for other programs, with a manifest that says what is exact.

safetensors  the folder of `Recommender.save`
faiss        index.faiss, an exact index of the items' vectors, and items.json, their ids by row
onnx         model.onnx: histories to scores of all items, and to queries for such an index
"""

import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, require_writable, write_json
from ur4rec_recbole.data.dataset import SECONDS
from ur4rec_recbole.data.modalities import Modalities
from ur4rec_recbole.model.experts import Context
from ur4rec_recbole.model.features import FeatureBank
from ur4rec_recbole.serving import folders
from ur4rec_recbole.serving.network import ServedUR4Rec, Settings, modalities_of
from ur4rec_recbole.serving.recommender import Recommender
from ur4rec_recbole.serving.vectors import QueryVectors, item_vectors

CHECKED = 64  # histories that ONNX and PyTorch must agree on
EXACT = (
    "Inner products of query and item vectors rank items exactly as the model does, the fused "
    "score included, up to rounding: standardising a score over the items is affine for one query. "
    "An approximate index made of the same vectors may miss items. Items of the history are not "
    "excluded; user profiles are not read."
)


class ScoredHistories(nn.Module):
    """What is exported to ONNX: histories of nobody that training knew, none of them empty."""

    def __init__(self, network: ServedUR4Rec) -> None:
        super().__init__()
        self.network = network
        self.retrieves = int(network.score) > 0
        self.queries = QueryVectors(network)
        self.register_buffer("vectors", item_vectors(network))
        network.features = _NoProfiles(network.features)
        # It says only which profile a moment may read, by functions that ONNX does not have.
        network.config = Settings({**network.config, "shuffle_gap": None})

    def forward(self, items: Tensor, times: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [B, N] up to a constant a row, and queries [B, V].

        Parameters
        ----------
        items
            [B, L] int64 rows of items.json, the newest L oldest first, zero-padded on the right.
        times
            [B, L] float64 seconds.
        now
            [B] float64 seconds, of the request.
        """
        network = self.network
        length = (items > 0).sum(1)
        batch = Interaction(
            {
                network.ITEM_SEQ: items,
                network.ITEM_SEQ_LEN: length,
                network.times: times,
                SECONDS: now,
            }
        )
        h, r, _ = network.final_states(batch, network.table, self.retrieves)
        query = self.queries(h, r)
        return query @ self.vectors.T, query


class _NoProfiles(FeatureBank):
    """A bank that knows no users; ONNX has nothing to look their profiles up with."""

    def __init__(self, bank: FeatureBank) -> None:
        super().__init__(Modalities(modalities_of(bank).items, None))
        self.profile_width = bank.widths()["profile"]

    def _profile_context(self, users: Tensor, known: Tensor) -> Context:
        del users
        tokens = self.profile_vectors.new_zeros(len(known), 1, self.profile_width)
        return Context(tokens, torch.zeros_like(known, dtype=torch.bool).unsqueeze(-1))


def export(recommender: Recommender, kind: str, folder: Path) -> dict[str, Any]:
    """Write a model in one of `KINDS` and return its manifest."""
    if kind not in KINDS:
        raise InputError("--to", f"must be one of {list(KINDS)}", repr(kind), "Name one.")
    network = recommender.index.network
    if not isinstance(network, ServedUR4Rec):
        raise InputError(
            "export", "needs a model of UR4Rec", type(network).__name__, "Name a run of UR4Rec."
        )
    require_writable("--output", folder)
    return KINDS[kind](recommender, folder)


def _safetensors(recommender: Recommender, folder: Path) -> dict[str, Any]:
    recommender.save(folder)
    return folders.manifest(folder)


def _faiss(recommender: Recommender, folder: Path) -> dict[str, Any]:
    faiss = _library("faiss")
    vectors = np.ascontiguousarray(item_vectors(recommender.index.network).numpy())
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    with atomic_write(folder / "index.faiss") as file:
        file.write(faiss.serialize_index(index).tobytes())
    return _finished(recommender, folder, "index.faiss", {"width": vectors.shape[1]})


def _onnx(recommender: Recommender, folder: Path) -> dict[str, Any]:
    _library("onnxscript")
    network = recommender.index.network
    # A copy: what is exported knows no profiles.
    module = ScoredHistories(network.with_items({}, 0)).eval()
    window = network.config["MAX_ITEM_LIST_LENGTH"]
    example = _histories(len(recommender.index.tokens), window, seed=1)
    names = ("items", "times", "now")
    with tempfile.TemporaryDirectory(dir=folder) as scratch, torch.no_grad():
        torch.onnx.export(
            module, example, f"{scratch}/model.onnx",
            input_names=names, output_names=("scores", "query"),
            dynamic_axes={name: {0: "B"} for name in (*names, "scores", "query")},
            opset_version=18, dynamo=False,
        )  # fmt: skip
        written = Path(scratch, "model.onnx").read_bytes()
    agreed = _check_onnx(recommender, module, written)
    with atomic_write(folder / "model.onnx") as file:
        file.write(written)
    told = {"inputs": list(names), "window": window, "reads_times": network.reads_times}
    return _finished(recommender, folder, "model.onnx", told | {"checked": agreed})


def _check_onnx(recommender: Recommender, module: nn.Module, model: bytes) -> str:
    """Compare the top ten of random histories by onnxruntime, PyTorch and the served model."""
    onnxruntime = _library("onnxruntime")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    network = recommender.index.network
    arguments = _histories(
        len(recommender.index.tokens), network.config["MAX_ITEM_LIST_LENGTH"], seed=2
    )
    with torch.no_grad():
        expected = module(*arguments)[0]
    names = [each.name for each in session.get_inputs()]  # one that is not read is not there
    given = dict(zip(("items", "times", "now"), arguments, strict=True))
    found = session.run(["scores"], {name: given[name].numpy() for name in names})[0]
    found_best = torch.from_numpy(found)[:, 1:].topk(min(10, found.shape[1] - 1))
    best = expected[:, 1:].topk(found_best.values.shape[1]).values
    theirs = expected[:, 1:].gather(1, found_best.indices)  # PyTorch's scores of ONNX's items
    # Only items that rounding alone tells apart may change places.
    difference = float(max((found_best.values - best).abs().max(), (theirs - best).abs().max()))
    if difference > 1e-3:
        raise InputError(
            "ONNX", "must give the top ten that PyTorch gives", f"scores {difference:.1e} apart",
            "Use --to safetensors, and report the configuration.",
        )  # fmt: skip
    return f"top 10 of {len(found)} histories as PyTorch, scores within {difference:.1e}"


def _histories(n_items: int, window: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw histories of all lengths: a trace takes every branch that one of them takes."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, n_items, (CHECKED, window), generator=generator)
    length = torch.randint(1, window + 1, (CHECKED, 1), generator=generator)
    length[0], length[1] = window, 1
    inside = torch.arange(window) < length
    gaps = torch.rand(CHECKED, window, generator=generator, dtype=torch.float64) * 1e5
    times = (gaps.cumsum(1) + 1.7e9) * inside
    return items * inside, times, times.max(1).values + 3600


def _finished(
    recommender: Recommender, folder: Path, name: str, told: dict[str, Any]
) -> dict[str, Any]:
    tokens = json.dumps(list(recommender.index.tokens), ensure_ascii=False).encode()
    with atomic_write(folder / "items.json") as file:
        file.write(tokens)
    hashes = {each: folders.sha256((folder / each).read_bytes()) for each in (name, "items.json")}
    manifest = {"version": folders.VERSION, "model": "UR4Rec", **told, "exact": EXACT,
                "sha256": hashes}  # fmt: skip
    write_json(folder / folders.MANIFEST, manifest)
    return manifest


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            name, "must be installed for this export", error,
            "Run `pip install ur4rec_recbole[export]`.",
        ) from error  # fmt: skip


KINDS: dict[str, Callable[[Recommender, Path], dict[str, Any]]] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "faiss": _faiss,
}
