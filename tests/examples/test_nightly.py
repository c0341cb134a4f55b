"""examples/nightly.sh: two nights, between which a product, a customer and orders have come."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.examples.test_shop import ROOT
from ur4rec_recbole.model import saved
from ur4rec_recbole.serving.recommender import Recommender

# `ur4rec` with an encoder that needs no download.
COMMAND = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.examples.test_shop import WordHashes
from ur4rec_recbole.commands import text_tables
from ur4rec_recbole.commands.main import main
text_tables.text_encoder = lambda *_: WordHashes()
sys.exit(main(sys.argv[1:]))
"""
TRAINING = (
    "--hidden_size=16 --n_layers=1 --expert_heads=2 --inner_size=32 --expert_inner_size=32 "
    "--n_proxy_tokens=2 --num_negatives=20 --epochs=2 --n_sub_experts=1 --router_top_k=0 "
    "--encoder_content=True"
)


def night(folder: Path) -> None:
    environment = os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    script = [ROOT / "examples" / "nightly.sh", *TRAINING.split()]
    ended = subprocess.run(
        ["sh", *script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not ended.returncode, ended.stdout + ended.stderr


def test_a_night_begins_with_the_last_that_ended(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ur4rec").write_text('#!/bin/sh\necho "$@" >> words\n')
    (tmp_path / "bin" / "ur4rec").chmod(0o755)
    night(tmp_path)
    assert "--init-from" not in (tmp_path / "words").read_text()
    for name, file in (("01", "model.json"), ("02", "model.json"), ("03", "run.json")):
        (tmp_path / "runs" / f"shop-2026-01-{name}-all").mkdir(parents=True)
        (tmp_path / "runs" / f"shop-2026-01-{name}-all" / file).touch()  # the third was killed
    night(tmp_path)
    assert "--init-from runs/shop-2026-01-02-all --on all" in (tmp_path / "words").read_text()


@pytest.mark.slow
def test_a_second_night_knows_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ur4rec").write_text(COMMAND)
    (tmp_path / "bin" / "ur4rec").chmod(0o755)
    subprocess.run([sys.executable, ROOT / "examples" / "make_shop.py", tmp_path], check=True)
    night(tmp_path)
    first = Recommender.load(tmp_path / "models" / "shop")
    orders = pd.read_csv(tmp_path / "orders.csv")
    assert len(first.histories.items) == len(orders)  # nothing is kept back
    more = pd.DataFrame({"customer": "NEW", "sku": ["P000", "P010", "P020"],
                         "ordered_at": orders.ordered_at.max()})  # fmt: skip
    pd.concat([orders, more]).to_csv(tmp_path / "orders.csv", index=False)
    products = pd.read_csv(tmp_path / "products.csv")
    fresh = products[products.sku == "P000"].assign(sku="N-coffee", name="New coffee")
    pd.concat([products, fresh]).to_csv(tmp_path / "products.csv", index=False)
    night(tmp_path)
    second = Recommender.load(tmp_path / "models" / "shop")
    assert "NEW" in second.histories.tokens and "NEW" not in first.histories.tokens
    assert "N-coffee" in second.index.ids and "N-coffee" not in first.index.ids
    assert second.recommend_users(["NEW"]).item.tolist()
    assert second.recommend(["P000"], include_only=["N-coffee"]).items == ["N-coffee"]
    runs = sorted(each.name for each in (tmp_path / "runs").iterdir() if each.is_dir())
    assert [name.endswith("-all") for name in runs] == [False, True, False, True]
    begun = saved.read(tmp_path / "runs" / runs[-1]).config["init_from"]
    assert begun == f"runs/{runs[1]}"
