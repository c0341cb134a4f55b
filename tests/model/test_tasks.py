"""Auxiliary tasks: each learns its own thing, is weighted as told and leaves scores alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from tests.conftest import SMALL, Toy, sequences
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import sort_exactly
from ur4rec_recbole.model import tasks
from ur4rec_recbole.model.tasks import TaskHeads, genre_matrix

COLUMNS = {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "class"]}


@pytest.fixture
def rated(tmp_path: Path) -> Any:
    """Return a factory of toys with ratings and genres; items 19 and 20 have none."""

    def build(**settings: Any) -> Toy:
        folder = tmp_path / "toy"
        folder.mkdir(exist_ok=True)
        lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
        for user, history in sequences().items():
            lines += [f"{user}\t{i}\t{1 + int(i[1:]) % 5}\t{t}" for t, i in enumerate(history)]
        (folder / "toy.inter").write_text("\n".join(lines) + "\n")
        names = ["Comedy", "Drama", "War"]
        items = [f"i{n}\t{names[n % 3]} {names[(n + 1) % 3]}" for n in range(1, 19)]
        items += ["i19\t", "i20\t"]
        (folder / "toy.item").write_text("item_id:token\tclass:token_seq\n" + "\n".join(items))
        values = {**SMALL, "data_path": str(tmp_path), "load_col": COLUMNS, **settings}
        config = Config("UR4Rec", "toy", config_dict=values)
        data = sort_exactly(create_dataset(config))
        return Toy(config, data, data_preparation(config, data))

    return build


def train_rows(made: Toy) -> Any:
    return made.rows(made.train)


def test_genres_of_an_item_are_its_row(rated: Any) -> None:
    made = rated()
    found = genre_matrix(made.train, "class")
    names = made.train.field2id_token["class"]
    for number in (1, 7, 18):
        row = found[made.item_ids([f"i{number}"])[0]]
        shown = {str(names[genre + 1]) for genre in row.nonzero().flatten().tolist()}
        order = ["Comedy", "Drama", "War"]
        assert shown == {order[number % 3], order[(number + 1) % 3]}
    assert not found[0].any()
    assert not found[made.item_ids(["i19"])[0]].any()


@pytest.mark.parametrize("task", ["genre", "rating", "matching"])
def test_a_task_joins_the_losses_where_the_retriever_trains(rated: Any, task: str) -> None:
    made = rated(stages=["pretrain_retriever"], **{f"{task}_weight": 0.5})
    assert task in made.model.named_losses(train_rows(made))
    made.config["stages"] = ["pretrain_sasrec"]
    assert task not in made.new_model().named_losses(train_rows(made))


@pytest.mark.parametrize("task", ["genre", "rating", "matching"])
def test_a_task_can_be_learned(rated: Any, task: str) -> None:
    made = rated(**{f"{task}_weight": 1.0})
    heads = TaskHeads(made.config, made.train)
    torch.manual_seed(0)
    items = torch.nn.Parameter(torch.randn(made.train.item_num, 16))
    states = torch.nn.Parameter(torch.randn(30, 16))
    targets = torch.arange(30) % (made.train.item_num - 1) + 1
    ratings = (targets % 5 + 1).float()
    optimizer = torch.optim.Adam([items, states, *heads.parameters()], lr=0.05)
    found = []
    for _ in range(80):
        loss = heads(states, items, targets, ratings)[task]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert sum(found[-5:]) < 0.5 * sum(found[:5])


def test_what_a_target_is_matched_against_is_each_other_item_alike(
    rated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = TaskHeads((made := rated(matching_weight=1.0)).config, made.train)
    asked = []

    def spy(r: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        asked.append(items[:, 0].long())
        return r * items

    monkeypatch.setattr(tasks, "_match", spy)
    names = torch.arange(made.train.item_num).float().unsqueeze(1).expand(-1, 16)
    targets = heads.warm.repeat(400)
    heads(torch.zeros(len(targets), 16), names, targets, None)
    assert torch.equal(asked[0], targets)
    n = len(heads.warm)
    pairs = (targets * made.train.item_num + asked[1]).unique(return_counts=True)[1]
    assert len(pairs) == n * (n - 1) and not (targets == asked[1]).any()
    spread = (400 / n) ** 0.5  # of a count
    assert (pairs - 400 / (n - 1)).abs().max() < 5 * spread


def test_a_single_item_is_matched_against_itself(rated: Any) -> None:
    heads = TaskHeads((made := rated(matching_weight=1.0)).config, made.train)
    heads.warm = heads.warm[:1]
    states, items = torch.randn(3, 16), torch.randn(made.train.item_num, 16)
    assert heads(states, items, heads.warm.expand(3), None)["matching"].isfinite()


def test_the_ratings_of_a_window_are_those_of_its_targets(
    rated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rated(stages=["pretrain_retriever"], rating_weight=1.0)
    seen = {}

    def spy(r: Any, items: Any, targets: Any, ratings: Any) -> dict[str, Any]:
        seen.update(targets=targets, ratings=ratings)
        return {}

    monkeypatch.setattr(made.model.tasks, "forward", spy)
    made.model.named_losses(train_rows(made))
    tokens = made.train.id2token("item_id", seen["targets"])
    expected = [1.0 + int(token[1:]) % 5 for token in tokens]
    assert seen["ratings"].tolist() == expected


def test_uncertainty_weighting_learns_to_trust_the_quieter_task(rated: Any) -> None:
    made = rated(genre_weight=1.0, rating_weight=1.0, task_weighting="uncertainty")
    heads = TaskHeads(made.config, made.train)
    noisy, quiet = torch.tensor(4.0), torch.tensor(0.1)
    heads._loss = lambda name, *_: noisy if name == "rating" else quiet  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(heads.log_variance.parameters(), lr=0.05)
    for _ in range(400):
        loss = sum(heads(torch.zeros(1), torch.zeros(1), torch.zeros(1), None).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
    # The optimum of exp(-s) L / 2 + s / 2 is s = log L; of exp(-s) L + s / 2, s = log 2L.
    assert heads.log_variance["rating"].item() == pytest.approx(1.386, abs=0.05)
    assert heads.log_variance["genre"].item() == pytest.approx(-1.609, abs=0.05)


def test_tasks_that_lack_their_data_are_refused_with_the_remedy(rated: Any) -> None:
    only = {"inter": ["user_id", "item_id", "timestamp"]}
    with pytest.raises(InputError, match="load_col"):
        rated(genre_weight=1.0, load_col=only).new_model()
    with pytest.raises(InputError, match="needs the interaction field 'rating'"):
        rated(rating_weight=1.0, load_col=only).new_model()


def test_tasks_change_no_score(rated: Any) -> None:
    plain, tasked = rated().model, rated(genre_weight=1.0, matching_weight=1.0).model
    shared = plain.state_dict()
    tasked.load_state_dict(shared, strict=False)
    rows = rated().rows()
    torch.testing.assert_close(tasked.full_sort_predict(rows), plain.full_sort_predict(rows))
