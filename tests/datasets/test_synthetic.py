"""The made-up data set has the promised size, and something to learn in its order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config

from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.datasets import synthetic
from ur4rec_recbole.datasets.synthetic import Size
from ur4rec_recbole.experiments.benchmark import on_synthetic_data
from ur4rec_recbole.experiments.plan import make_plan
from ur4rec_recbole.runs.assembly import load_data

SIZE = Size(n_users=120, n_items=300, n_interactions=4800, n_topics=10)


def test_the_full_size_is_a_million_interactions() -> None:
    found = synthetic.lengths(Size(), np.random.default_rng(0))
    assert (len(found), found.sum()) == (6000, 1_000_000)
    assert found.min() >= synthetic.SHORTEST
    assert found.max() <= 2000


def test_files_hold_what_the_size_says(tmp_path: Path) -> None:
    target = synthetic.write(tmp_path, SIZE)
    rows = pd.read_csv(target / "synthetic.inter", sep="\t")
    assert len(rows) == 4800
    assert rows["user_id:token"].nunique() == 120
    assert not rows.duplicated(["user_id:token", "item_id:token"]).any()
    items = pd.read_csv(target / "synthetic.item", sep="\t")
    assert set(items["item_id:token"]) == set(rows["item_id:token"])
    assert len(FeatureTable.load(target / "item_text.npz").tokens) == len(items)
    # The next item's topic follows from the last one's far more often than by chance.
    topic = items.set_index("item_id:token")["class:token_seq"].str[5:].astype(int)
    steps = rows.assign(topic=rows["item_id:token"].map(topic)).groupby("user_id:token")["topic"]
    step = steps.diff().dropna() % 10
    assert step.isin([0, 1, 9]).mean() > 0.5
    popular = rows["item_id:token"].value_counts()
    assert popular.iloc[:30].sum() > 0.2 * len(rows)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    first, second = (synthetic.write(tmp_path / n, SIZE) for n in "ab")
    other = synthetic.write(tmp_path / "c", replace(SIZE, seed=1))
    texts = [(each / "synthetic.inter").read_text() for each in (first, second, other)]
    assert texts[0] == texts[1] != texts[2]


def test_drawing_one_by_one_is_drawing_by_noise() -> None:
    topics, generator = np.arange(12) % 3, np.random.default_rng(0)
    items = synthetic._Items(topics, -0.8 * np.log(1 + np.arange(12.0)))
    taste = np.array([1.0, 0.0, -1.0])
    counts = []
    for draw in (synthetic._by_noise, synthetic._one_by_one):
        drawn = [draw(items, taste, 4, generator) for _ in range(5000)]
        assert all(len(set(each.tolist())) == 4 for each in drawn)
        counts.append(np.bincount(np.concatenate(drawn), minlength=12))
    # Each item's count has a deviation of 35 at most, the difference of two of 50.
    assert np.abs(counts[0] - counts[1]).max() < 4.5 * 50


def test_a_plan_moves_to_the_made_up_data(tmp_path: Path) -> None:
    plan = make_plan({"dataset": "ml-100k", "entries": [{"name": "a", "model": "Pop"}]})
    moved = on_synthetic_data(plan, tmp_path, SIZE)
    assert moved.dataset == "synthetic"
    assert moved.jobs()[0].settings["data_path"] == str(tmp_path)
    assert (tmp_path / "synthetic" / "synthetic.inter").is_file()


@pytest.mark.parametrize("model", ["UR4Rec", "SASRec"])
def test_its_settings_load_it_in_time_order(model: str, tmp_path: Path) -> None:
    where = synthetic.location(tmp_path, SIZE)
    settings = {**where, "train_neg_sample_args": None, "state": "ERROR"}
    train, valid, _ = load_data(Config(model, synthetic.NAME, config_dict=settings))
    assert len(valid._dataset) == SIZE.n_users
    times = train._dataset.inter_feat["timestamp"]
    assert times.max() > times.min()
    rows = pd.read_csv(tmp_path / "synthetic" / "synthetic.inter", sep="\t")
    before_last = rows.sort_values("timestamp:float").groupby("user_id:token").nth(-2)
    expected = dict(zip(before_last["user_id:token"], before_last["item_id:token"], strict=True))
    part = valid._dataset
    batch = part[np.arange(len(part))]
    users = part.id2token("user_id", batch["user_id"].numpy())
    items = part.id2token("item_id", batch["item_id"].numpy())
    assert dict(zip(users, items, strict=True)) == expected
