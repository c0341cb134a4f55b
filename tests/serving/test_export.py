"""What is exported ranks as the model does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import make_table, sequences
from tests.serving.test_recommender import TIMED, WAYS, recommender
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.serving import search_index
from ur4rec_recbole.serving.export import export
from ur4rec_recbole.serving.histories import as_batch
from ur4rec_recbole.serving.recommender import Recommender


@pytest.mark.parametrize("settings", WAYS)
def test_inner_products_are_the_scores(full_toy: Any, settings: Any) -> None:
    toy = full_toy(**settings | {"exclude_history": False})
    made = recommender(toy)
    network = made.index.network
    histories = [
        made.read(items, now=9)
        for items in (["i1"], ["i5", "i2", "i7"], [f"i{n}" for n in range(1, 9)])
    ]
    with torch.no_grad():
        batch = as_batch(histories, network.config, whole_window=False)
        found = network.query(batch) @ network.products.rows.T
        expected = toy.model.full_sort_predict(as_batch(histories, toy.train.config, True))
    torch.testing.assert_close(found[:, 1:], expected[:, 1:], atol=1e-4, rtol=1e-4)


def test_an_exact_index_finds_what_the_model_recommends(full_toy: Any, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    made = recommender(full_toy())
    manifest = export(made, "faiss", tmp_path / "index")
    index = faiss.deserialize_index(np.fromfile(tmp_path / "index" / "index.faiss", np.uint8))
    tokens = json.loads((tmp_path / "index" / "items.json").read_text())
    network = made.index.network
    history = made.read(["i3", "i8"], now=9)
    with torch.no_grad():
        batch = as_batch([history], network.config, whole_window=False)
        _, rows = index.search(network.query(batch).numpy(), 20)
    found = [tokens[row] for row in rows[0]]
    assert found == made.recommend(["i3", "i8"], k=20, repeat=True).items
    assert "is the model's score" in manifest["exact"]
    assert manifest["kept"] == 1


def test_an_approximate_index_says_how_much_it_finds(full_toy: Any, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    made = recommender(full_toy())
    manifest = export(made, "hnsw", tmp_path / "index")
    index = faiss.deserialize_index(np.fromfile(tmp_path / "index" / "index.faiss", np.uint8))
    assert index.nprobe == manifest["hnsw"]["probes"]
    assert manifest["hnsw"]["recall"] > 0.95
    queries = np.random.default_rng(1).standard_normal((5, manifest["width"])).astype(np.float32)
    scores = queries @ made.index.network.products.rows.numpy()[1:].T
    index.nprobe = index.nlist  # all cells
    found = search_index.search(index, queries, 3)
    assert found.tolist() == (np.argsort(-scores, axis=1)[:, :3] + 1).tolist()


@pytest.mark.parametrize("settings", [{}, TIMED, WAYS[2], {"router_top_k": 2}])
def test_onnxruntime_gives_the_models_top_ten(full_toy: Any, tmp_path: Path, settings: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    made = recommender(full_toy(**settings))
    manifest = export(made, "onnx", tmp_path / "onnx")
    assert "top 10 of PyTorch in 1000 of 1000 histories" in manifest["checked"]
    assert manifest["kept"] < 1 and "profiles are not read" in manifest["exact"]
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    tokens = json.loads((tmp_path / "onnx" / "items.json").read_text())
    assert manifest["window"] == 5
    given = {
        "items": np.array([[tokens.index("i3"), tokens.index("i8"), 0, 0, 0]]),
        "times": np.array([[5.0, 8.0, 0, 0, 0]]),
        "now": np.array([10.0]),
    }
    names = [each.name for each in session.get_inputs()]
    scores = session.run(["scores"], {name: given[name] for name in names})[0][0]
    found = [tokens[row] for row in np.argsort(-scores[1:])[:10] + 1]
    expected = made.recommend(["i3", "i8"], times=[5, 8], now=10, repeat=True)
    assert found == expected.items


def test_a_model_of_mixed_precision_is_exported_in_full(full_toy: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")  # which has no kernel for a product in bfloat16
    pytest.importorskip("onnxscript")
    made = recommender(full_toy(enable_amp=True))
    manifest = export(made, "onnx", tmp_path / "onnx")
    assert "top 10 of PyTorch in 1000 of 1000 histories" in manifest["checked"]
    assert made.index.network.config["enable_amp"]


def test_all_is_kept_without_profiles(toy: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    text = make_table("item_text", [f"i{n}" for n in range(1, 16)], 6, 1)
    made = recommender(toy(tables={"item_text_table": text}))
    manifest = export(made, "onnx", tmp_path / "onnx")
    assert manifest["kept"] == 1 and "profiles" not in manifest["exact"]


@pytest.mark.parametrize("exclude_history", [False, True])
def test_onnx_has_what_corrects_the_scores_and_an_index_tells_what_it_lacks(
    toy: Any, tmp_path: Path, exclude_history: bool
) -> None:
    for name in ("onnxruntime", "onnxscript", "faiss"):
        pytest.importorskip(name)
    text = make_table("item_text", [f"i{n}" for n in range(1, 18)], 6, 1)
    settings = {
        "n_neighbour_items": 2, "neighbour_shares": [0.5, 0.3, 0.2], "cooccurrence_window": 3,
        "cooccurrence_choice": [5, 0.8, 1, 0.5], "request_time": True, "trend_half_lives": ["20s"],
        "trend_choice": [20.0, 0.1, 1.0], "exclude_history": exclude_history,
        "rare_item_boost": 0.5, "new_item_offset": 0.3,
    }  # fmt: skip
    more = {"histories": sequences([8] * 15), "items": [f"i{n}" for n in range(1, 18)]}
    made = recommender(toy(tables={"item_text_table": text}, **settings, **more))
    manifest = export(made, "onnx", tmp_path / "onnx")
    assert manifest["kept"] == 1
    assert "top 10 of PyTorch in 1000 of 1000 histories" in manifest["checked"]
    left_out = export(made, "faiss", tmp_path / "index")
    assert left_out["kept"] < 1
    parts = ("the trend", "neighbours by content", "counts of what goes together", "rare items",
             "places for new items")  # fmt: skip
    for part in parts:
        assert part in manifest["exact"] and part in left_out["exact"]


def test_safetensors_is_a_folder_to_serve(full_toy: Any, tmp_path: Path) -> None:
    made = recommender(full_toy())
    export(made, "safetensors", tmp_path / "model")
    assert Recommender.load(tmp_path / "model").recommend(["i1"]) == made.recommend(["i1"])


def test_another_kind_of_export_needs_another_folder(full_toy: Any, tmp_path: Path) -> None:
    made = recommender(full_toy())
    export(made, "safetensors", tmp_path / "model")
    with pytest.raises(InputError, match="must be a new folder, or one of --to faiss"):
        export(made, "faiss", tmp_path / "model")
    export(made, "safetensors", tmp_path / "model")
    assert Recommender.load(tmp_path / "model").recommend(["i1"]).items


def test_a_model_without_vectors_is_not_exported(toy: Any, tmp_path: Path) -> None:
    made = recommender(toy(model="ItemTransition"))
    with pytest.raises(InputError, match="UR4Rec"):
        export(made, "onnx", tmp_path)
