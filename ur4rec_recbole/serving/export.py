"""`ur4rec export`: a model for other programs, with a manifest that says what is exact.

safetensors  the folder of `Recommender.save`
faiss        index.faiss, an exact index of the items' vectors, and items.json, their ids by row
hnsw         the same with an approximate index, for very many items
onnx         model.onnx: histories to scores of all items, and to queries for such an index
"""

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
from ur4rec_recbole.core.files import atomic_write, file_hash, require_writable, write_json
from ur4rec_recbole.data.dataset import EARLIER, SECONDS
from ur4rec_recbole.data.modalities import Modalities
from ur4rec_recbole.serving import folders, search_index
from ur4rec_recbole.serving.bank import ServedBank, modalities_of
from ur4rec_recbole.serving.histories import History, as_batch
from ur4rec_recbole.serving.network import ServedUR4Rec, Settings
from ur4rec_recbole.serving.recommender import Recommender

INDEX, GRAPH = "index.faiss", "model.onnx"
FILES = {"safetensors": folders.TENSORS, "faiss": INDEX, "hnsw": INDEX, "onnx": GRAPH}
CHECKED = 1000  # histories, of which each export must give the model's top ten
TRACED = 64  # of them, by which the model is traced
BATCH = 64  # checked at a time
EXACT = (
    "The inner product of a query and an item's vector is the model's score, the fused one "
    "included, up to rounding: standardising a score over the items is affine for one query. "
    "Items of the history are not excluded."
)
LEFT_OUT = " Left out is what no inner product says: {}; `kept` says what that costs."
CORRECTED = (
    " The scores, not the query, have what no inner product says: {}. Where that are probabilities "
    "and the history was excluded in training, it is here, too."
)
PROFILES = " User profiles are not read; `kept` says what that costs."


class ScoredHistories(nn.Module):
    """What is exported to ONNX: histories of nobody that training knew, none of them empty."""

    def __init__(self, network: ServedUR4Rec) -> None:
        super().__init__()
        self.network = _without_profiles(network)

    def forward(self, items: Tensor, times: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [B, N], -inf of what cannot be recommended, and queries [B, V].

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
        query = network.query(batch)
        scores = network.correct(query @ network.products.rows.T, batch, network.corrections)
        return scores, query


def _without_profiles(network: ServedUR4Rec) -> ServedUR4Rec:
    """Return a network that knows no users; ONNX has nothing to look their profiles up with.

    It computes in float32: onnxruntime has no products in bfloat16 on a CPU.
    """
    copied = network.with_items({}, 0)
    copied.config = Settings(network.config | {"enable_amp": False})
    bank = copied.features
    tokens = {name: bank.tokens(name) for name in bank.item_modalities}
    copied.features = ServedBank(Modalities(modalities_of(bank).items, None), tokens)
    return copied.eval()


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
    others = [
        name for name in sorted({*FILES.values()} - {FILES[kind]}) if (folder / name).exists()
    ]
    if others:
        raise InputError(
            f"--output {folder}", f"must be a new folder, or one of --to {kind}",
            f"one with {others[0]}, whose manifest would be lost", "Name another folder.",
        )  # fmt: skip
    with torch.inference_mode(kind != "onnx"), torch.no_grad():  # what is traced is no inference
        return KINDS[kind](recommender, folder)


def _safetensors(recommender: Recommender, folder: Path) -> dict[str, Any]:
    recommender.save(folder)
    return folders.manifest(folder)


def _faiss(recommender: Recommender, folder: Path) -> dict[str, Any]:
    return _searched(recommender, folder, approximate=False)


def _hnsw(recommender: Recommender, folder: Path) -> dict[str, Any]:
    return _searched(recommender, folder, approximate=True)


def _searched(recommender: Recommender, folder: Path, approximate: bool) -> dict[str, Any]:
    network = recommender.index.network
    ids = np.flatnonzero(~network.refused_items.numpy())
    rows = np.ascontiguousarray(network.products.rows.numpy()[ids])
    histories = known_histories(recommender)
    queries = np.concatenate([network.query(each).numpy() for each in _batches(network, histories)])
    index = exact = search_index.exact(rows, ids)
    told: dict[str, Any] = {"width": rows.shape[1]}
    if approximate:
        index = search_index.hnsw(rows, ids)
        told["query"] = "with a further 0 at its end; the nearest is the best"
        told["hnsw"] = search_index.tune(index, exact, queries)._asdict()
    found = search_index.search(index, queries, min(10, len(ids)))
    told["kept"] = search_index.shared(_top(recommender, histories), found)
    with atomic_write(folder / INDEX) as file:
        file.write(search_index.library("faiss").serialize_index(index).tobytes())
    return _finished(recommender, folder, INDEX, told)


def _onnx(recommender: Recommender, folder: Path) -> dict[str, Any]:
    search_index.library("onnxscript")
    network = recommender.index.network
    module = ScoredHistories(network).eval()
    window = network.config["MAX_ITEM_LIST_LENGTH"]
    drawn = _histories(len(recommender.index.tokens), window)
    names = ("items", "times", "now")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        torch.onnx.export(
            module, tuple(each[:TRACED] for each in drawn), f"{scratch}/model.onnx",
            input_names=names, output_names=("scores", "query"),
            dynamic_axes={name: {0: "B"} for name in (*names, "scores", "query")},
            opset_version=18, dynamo=False,
        )  # fmt: skip
        written = Path(scratch, "model.onnx").read_bytes()
    run = _session(written)
    told = {"inputs": list(names), "window": window, "reads_times": network.reads_times}
    told["checked"] = _check_onnx(run, module, drawn)
    histories = known_histories(recommender)
    scores = []
    for each in _batches(network, histories, whole_window=True):
        scores.append(run(each[network.ITEM_SEQ], each[network.times], each[SECONDS]))
        if EARLIER in each.interaction:  # who asks leaves out what the graph is not told of
            scores[-1].scatter_(1, each[EARLIER], -torch.inf)
    found = torch.cat(scores).topk(min(10, int((~network.refused_items).sum()))).indices.numpy()
    told["kept"] = search_index.shared(_top(recommender, histories), found)
    with atomic_write(folder / GRAPH) as file:
        file.write(written)
    return _finished(recommender, folder, GRAPH, told)


def _session(model: bytes) -> Callable[..., Tensor]:
    """Return a function from items, times and now to scores by onnxruntime."""
    onnxruntime = search_index.library("onnxruntime")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]  # one that is not read is not there

    def run(*given: Tensor) -> Tensor:
        every = dict(zip(("items", "times", "now"), given, strict=True))
        [scores] = session.run(["scores"], {name: every[name].numpy() for name in names})
        return torch.from_numpy(scores)

    return run


def _check_onnx(run: Callable[..., Tensor], module: nn.Module, drawn: tuple[Tensor, ...]) -> str:
    """Compare the top ten of random histories by onnxruntime and by PyTorch."""
    apart, same = 0.0, 0
    for given in zip(*(each.split(BATCH) for each in drawn), strict=True):
        expected, found = module(*given)[0], run(*given)
        best = expected.topk(min(10, int(expected[0].isfinite().sum())))
        theirs = found.topk(best.values.shape[1])
        same += int((theirs.indices == best.indices).all(1).sum())
        # Only items that rounding alone tells apart may change places.
        for values in (theirs.values, expected.gather(1, theirs.indices)):
            apart = max(apart, float((values - best.values).abs().max()))
    if apart > 1e-3:
        raise InputError(
            "ONNX", "must give the top ten that PyTorch gives", f"scores {apart:.1e} apart",
            "Use --to safetensors, and report the configuration.",
        )  # fmt: skip
    return f"the top 10 of PyTorch in {same} of {CHECKED} histories, scores within {apart:.1e}"


def _histories(n_items: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw histories of all lengths: a trace takes every branch that one of them takes.

    Every third has intervals of whole powers of two, where a bin of time begins.
    """
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(1, n_items, (CHECKED, window), generator=generator)
    length = torch.randint(1, window + 1, (CHECKED, 1), generator=generator)
    length[0], length[1] = window, 1
    inside = torch.arange(window) < length
    exponents = torch.randint(0, 21, (CHECKED, window), generator=generator).double()
    gaps = torch.rand(CHECKED, window, generator=generator, dtype=torch.float64) * 1e5
    gaps[::3] = 2.0 ** exponents[::3]
    gaps[1::3] = gaps[1::3].floor()
    times = (gaps.cumsum(1) + 1.7e9) * inside
    return items * inside, times, times.max(1).values + 4096


def known_histories(recommender: Recommender) -> list[History]:
    """Return what up to `CHECKED` of the users have had."""
    users = recommender.histories.tokens[1:]
    chosen = np.random.default_rng(1).permutation(len(users))[:CHECKED]
    read = (recommender.user_history(users[place]) for place in chosen)
    return [each for each in read if len(each.items)]


def _batches(
    network: ServedUR4Rec, histories: list[History], whole_window: bool = False
) -> list[Interaction]:
    return [
        as_batch(histories[start : start + BATCH], network.config, whole_window)
        for start in range(0, len(histories), BATCH)
    ]


def _top(recommender: Recommender, histories: list[History]) -> np.ndarray:
    """Return the rows of the ten best items that the model itself finds, the history's own too."""
    scores = torch.cat(list(recommender.index.scores(histories)))
    return scores.topk(min(10, int(scores[0].isfinite().sum()))).indices.numpy()


def _finished(
    recommender: Recommender, folder: Path, name: str, told: dict[str, Any]
) -> dict[str, Any]:
    tokens = json.dumps(list(recommender.index.tokens), ensure_ascii=False).encode()
    with atomic_write(folder / "items.json") as file:
        file.write(tokens)
    hashes = {each: file_hash(folder / each) for each in (name, "items.json")}
    network = recommender.index.network
    corrections = ", ".join(each.told_as for each in network.corrections if each.is_active)
    is_onnx = "inputs" in told
    more = (CORRECTED if is_onnx else LEFT_OUT).format(corrections) if corrections else ""
    if is_onnx and len(network.features.profile_keys):
        more += PROFILES
    manifest = {"version": folders.VERSION, "model": "UR4Rec", **told, "exact": EXACT + more,
                "sha256": hashes}  # fmt: skip
    write_json(folder / folders.MANIFEST, manifest)
    return manifest


KINDS: dict[str, Callable[[Recommender, Path], dict[str, Any]]] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "faiss": _faiss,
    "hnsw": _hnsw,
}
