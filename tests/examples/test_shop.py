"""From a shop's CSV files to its first recommendation, by the commands that a newcomer types."""

import os
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ur4rec_recbole.commands import text_tables
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.serving.recommender import Recommender

ROOT = Path(__file__).parents[2]
# A tiny model; what is tested is the way.
TRAINING = (
    "--hidden_size=16 --n_layers=1 --expert_heads=2 --inner_size=32 --expert_inner_size=32 "
    "--n_proxy_tokens=2 --num_negatives=20 --topk=[10] --stages=[pretrain_sasrec,"
    "pretrain_retriever] --epochs=6 --learning_rate=0.01 --retriever_learning_rate=0.01 "
    "--hidden_dropout_prob=0.2 --run_folder=run --exclude_history=True"
)


class WordHashes:
    """A text encoder that needs no download: words hashed into 64 places."""

    name, version = "word-hashes", "1"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"[a-z]+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % 64] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the first three commands: convert, extract, train."""
    folder = tmp_path_factory.mktemp("shop")
    subprocess.run([sys.executable, ROOT / "examples" / "make_shop.py", folder], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(text_tables, "text_encoder", lambda *_: WordHashes())
        for command in (
            "convert table --interactions orders.csv --items products.csv --output dataset/shop",
            "extract text --dataset shop --data-path dataset --config dataset/shop/shop.yaml "
            "--texts dataset/shop/shop.texts.json --output dataset/shop/item_text.npz",
            "train --model UR4Rec --dataset shop --config-files dataset/shop/shop.yaml "
            f"--data_path=dataset --item_text_table=dataset/shop/item_text.npz {TRAINING}",
        ):
            assert main(command.split()) == 0
    return folder


@pytest.fixture(scope="module")
def model(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the model's folder, which holds all that serving needs."""
    pytest.importorskip("ur4rec_recbole.runs.loading")
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop)
        Recommender.load("run").save(folder)
    yield folder


def test_the_fourth_command_recommends_what_the_customer_likes(
    shop: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    kind = pd.read_csv("products.csv", index_col="sku").category
    bought = [sku for sku in kind.index if kind[sku] in ("tea", "garden")][:4]
    assert main(["recommend", "run", "--history", ",".join(bought)]) == 0
    items = [line.split()[1] for line in capsys.readouterr().out.strip().split("\n")[-10:]]
    liked = sum(kind[item] in ("tea", "garden") for item in items)
    assert liked >= 5  # 2 would be chance


def test_a_product_that_nobody_has_bought_is_recommended_from_its_text(model: Path) -> None:
    made = Recommender.load(model)
    texts = ["For tea: leaves, green, steeped, herbal.", "For cycling: helmet, chain, tyre."]
    made.add_items(["N-tea", "N-cycling"], texts=texts, encoder=WordHashes())
    similar = made.similar_items("N-tea", k=5).items
    assert sum(made.titles[item].split()[1] == "tea" for item in similar if item in made.titles) > 2


def test_the_service_answers_over_http(model: Path) -> None:
    httpx: Any = pytest.importorskip("httpx2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "ur4rec_recbole", "serve", str(model), "--port", str(port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        answer = _when_ready(httpx, process, port)
        assert len(answer.json()["items"]) == 3
        assert all(each["title"] for each in answer.json()["items"])
    finally:
        process.terminate()
        assert process.wait(20) is not None


def _when_ready(httpx: Any, process: subprocess.Popen, port: int) -> Any:
    for _ in range(300):
        assert process.poll() is None, process.communicate()[0]
        try:
            body = {"items": ["P000", "P010"], "k": 3}
            return httpx.post(f"http://127.0.0.1:{port}/recommend", json=body)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the service did not come up")
