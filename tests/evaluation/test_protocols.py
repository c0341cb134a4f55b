"""Evaluation: ranks as counted by hand, candidates drawn once, metrics as RecBole's."""

from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

from tests import reference
from tests.conftest import sequences
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset, sort_exactly
from ur4rec_recbole.evaluation import candidates, protocols, ranking, subsets

ITEMS = [f"i{n}" for n in range(1, 131)]


class Scorer(torch.nn.Module):
    """Gives fixed scores [users, N] by user."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.table, self.n_items, self.ITEM_ID = scores, scores.shape[1], "item_id"

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        return self.table[interaction["user_id"]]


class PairScorer(Scorer):
    """Scores single pairs only, as some of RecBole's models do."""

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        raise NotImplementedError

    def predict(self, interaction: Interaction) -> torch.Tensor:
        return self.table[interaction["user_id"], interaction["item_id"]]


@pytest.fixture
def part(toy: Any) -> UR4RecDataset:
    return toy(items=ITEMS).test


def random_scores(part: UR4RecDataset, values: int = 10**6) -> torch.Tensor:
    return torch.randint(values, (part.user_num, part.item_num)).float()


def naive(
    part: UR4RecDataset, table: torch.Tensor, seed: int, histories: dict[str, list[str]]
) -> dict[str, list[int]]:
    """Rank every row's target, its user's last item, by counting, protocol by protocol."""
    drawn = {
        "uniform_99": candidates.sampled_candidates(part, seed),
        "popularity_99": candidates.popular_candidates(part, seed),
    }
    found: dict[str, list[int]] = {name: [] for name in protocols.PROTOCOLS}
    for n, (user, target) in enumerate(
        zip(part.inter_feat["user_id"].tolist(), part.inter_feat["item_id"].tolist(), strict=True)
    ):
        items = histories[part.id2token("user_id", user)]
        ids = part.token2id("item_id", items).tolist()
        had = set(ids[:-1]) - {target}
        scores = table[user].numpy()
        every = range(1, part.item_num)
        found["full"].append(reference.rank(scores, target, every))
        unseen = [i for i in every if i not in had]
        found["full_masked"].append(reference.rank(scores, target, unseen))
        for name, items in drawn.items():
            found[name].append(reference.rank(scores, target, items[n].tolist()))
    return found


@pytest.mark.parametrize("values", [10**6, 3], ids=["distinct", "tied"])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_ranks_equal_counting_by_hand(part: UR4RecDataset, values: int, batch_size: int) -> None:
    table = random_scores(part, values)
    found = protocols.ranks(Scorer(table), part, "cpu", batch_size, seed=4)
    expected = naive(part, table, 4, sequences())
    assert {name: rank.tolist() for name, rank in found.items()} == expected


def test_items_chosen_again_are_ranked_and_masked_once(toy: Any) -> None:
    histories = {"u1": ["i1", "i2", "i1", "i3", "i1", "i2"], "u2": ["i4", "i4", "i4", "i4"],
                 "u3": ["i5", "i6", "i5", "i7"]}  # fmt: skip
    part = toy(histories, items=ITEMS).test
    table = random_scores(part)
    found = protocols.ranks(Scorer(table), part, "cpu")
    expected = naive(part, table, 2020, histories)
    assert {name: rank.tolist() for name, rank in found.items()} == expected
    assert dict(zip(part.inter_feat["user_id"].tolist(), subsets.repeated(part), strict=True)) == {
        1: True, 2: True, 3: False,
    }  # fmt: skip


def test_a_catalogue_of_any_size_is_scored_in_bounded_memory(
    part: UR4RecDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, rows = random_scores(part), []
    expected = protocols.ranks(Scorer(table), part, "cpu")

    class Counting(Scorer):
        def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
            rows.append(len(interaction))
            return super().full_sort_predict(interaction)

    monkeypatch.setattr(ranking, "SCORES_HELD", 3 * part.item_num)
    found = protocols.ranks(Counting(table), part, "cpu")
    assert max(rows) == 3
    assert all(np.array_equal(rank, expected[name]) for name, rank in found.items())


def test_a_model_that_scores_pairs_alone_is_ranked_alike(part: UR4RecDataset) -> None:
    table = random_scores(part)
    expected = protocols.ranks(Scorer(table), part, "cpu")
    for name, rank in protocols.ranks(PairScorer(table), part, "cpu").items():
        assert np.array_equal(rank, expected[name])


@pytest.mark.parametrize("value", [0.0, 7.5, -np.inf, np.nan])
def test_a_constant_scorer_gets_nothing(toy: Any, value: float) -> None:
    made = toy(items=ITEMS)
    table = torch.full((made.test.user_num, made.test.item_num), value)
    found = protocols.evaluate(Scorer(table), made.test, made.config)
    for values in found.values():
        assert set(values.values()) == {0.0}


def test_a_model_that_knows_the_answer_gets_everything(toy: Any) -> None:
    made = toy(items=ITEMS)
    table = random_scores(made.test)
    table[made.test.inter_feat["user_id"], made.test.inter_feat["item_id"]] = 1e9
    for values in protocols.evaluate(Scorer(table), made.test, made.config).values():
        assert set(values.values()) == {1.0}


def test_a_target_that_scores_nan_ranks_last(part: UR4RecDataset) -> None:
    table = random_scores(part)
    table[part.inter_feat["user_id"], part.inter_feat["item_id"]] = torch.nan
    found = protocols.ranks(Scorer(table), part, "cpu")
    assert (found["full"] == part.item_num - 1).all()
    assert (found["uniform_99"] == 100).all()


def test_padding_is_never_ranked(part: UR4RecDataset) -> None:
    table = random_scores(part)
    expected = protocols.ranks(Scorer(table), part, "cpu")
    table[:, 0] = 1e9
    for name, rank in protocols.ranks(Scorer(table), part, "cpu").items():
        assert np.array_equal(rank, expected[name])


def test_history_counts_in_full_ranking_and_not_in_the_masked_one(part: UR4RecDataset) -> None:
    table = torch.zeros(part.user_num, part.item_num)
    lengths = []
    for user, target in zip(
        part.inter_feat["user_id"].tolist(), part.inter_feat["item_id"].tolist(), strict=True
    ):
        items = part.token2id("item_id", sequences()[part.id2token("user_id", user)]).tolist()
        table[user, items] = 2.0
        table[user, target] = 1.0
        lengths.append(items.index(target))
    found = protocols.ranks(Scorer(table), part, "cpu")
    assert found["full"].tolist() == [1 + n for n in lengths]
    assert max(lengths) > 5  # histories longer than the window are masked whole
    assert (found["full_masked"] == 1).all()


def test_ranking_leaves_the_scores_of_the_model_alone(part: UR4RecDataset) -> None:
    table = random_scores(part)
    kept = table.clone()
    protocols.ranks(Scorer(table), part, "cpu")
    assert torch.equal(table, kept)


@pytest.fixture(params=["one by one", "at once"])
def drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw candidates as for small data, and as for large."""
    if request.param == "at once":
        monkeypatch.setattr(candidates, "ONE_BY_ONE", 0)


@pytest.mark.usefixtures("drawing")
def test_candidates_are_distinct_unseen_and_real(part: UR4RecDataset) -> None:
    drawn = candidates.sampled_candidates(part, 1)
    assert drawn.shape == (len(part), 99)
    for user, row in zip(part.inter_feat["user_id"].tolist(), drawn, strict=True):
        items = sequences()[part.id2token("user_id", user)]
        assert len(set(row)) == 99
        assert row.min() >= 1
        assert row.max() < part.item_num
        assert not set(row) & set(part.token2id("item_id", items).tolist())


@pytest.mark.usefixtures("drawing")
def test_candidates_are_the_same_for_the_same_seed_alone(toy: Any) -> None:
    made = toy(items=ITEMS)
    first = candidates.sampled_candidates(made.test, 1)
    np.random.seed(99)
    torch.manual_seed(99)
    assert np.array_equal(candidates.sampled_candidates(made.test, 1), first)
    assert not np.array_equal(candidates.sampled_candidates(made.test, 2), first)
    other = toy(items=ITEMS, MAX_ITEM_LIST_LENGTH=3)
    assert np.array_equal(candidates.sampled_candidates(other.test, 1), first)


@pytest.mark.usefixtures("drawing")
def test_popular_items_are_drawn_more_often_and_unseen_ones_last(part: UR4RecDataset) -> None:
    part.training_counts = np.zeros(part.item_num, dtype=np.int64)
    part.training_counts[1:111] = 1
    part.training_counts[1:11] = 1000
    taken = np.zeros(part.item_num)
    for seed in range(40):
        taken += np.bincount(candidates.popular_candidates(part, seed, 5).ravel(), minlength=131)
    assert taken[1:11].mean() > 20 * taken[11:111].mean() > 0
    assert taken[111:].sum() == 0
    users = part.inter_feat["user_id"].tolist()
    for user, row in zip(users, candidates.popular_candidates(part, 1, 99), strict=True):
        items = part.token2id("item_id", sequences()[part.id2token("user_id", user)])
        unseen = np.setdiff1d(np.arange(1, 131), items)
        assert len(set(row)) == 99
        assert set(row) <= set(unseen)
        assert set(unseen[unseen <= 110]) <= set(row) or not (row > 110).any()


@pytest.mark.parametrize("popular_items", [130, 104, 3])
def test_draws_are_those_of_numpy_among_the_unseen_items(
    part: UR4RecDataset, popular_items: int
) -> None:
    """The plain way, which sorts all unseen items of every user."""
    part.training_counts = np.zeros(part.item_num, dtype=np.int64)
    part.training_counts[1 : popular_items + 1] = np.arange(popular_items) % 7 + 1
    uniform = candidates.sampled_candidates(part, 5)
    popular = candidates.popular_candidates(part, 5, 20)
    for row, user in enumerate(part.inter_feat["user_id"].tolist()):
        items = part.token2id("item_id", sequences()[part.id2token("user_id", user)])
        unseen = np.setdiff1d(np.arange(1, part.item_num), items)
        expected = np.random.default_rng([5, user]).choice(unseen, 99, replace=False)
        assert np.array_equal(uniform[row], expected)
        arrival = np.random.default_rng([5, 1, user]).standard_exponential(len(unseen))
        with np.errstate(divide="ignore"):
            late = arrival / part.training_counts[unseen]
        assert np.array_equal(popular[row], unseen[np.lexsort((arrival, late))[:20]])


def test_candidates_are_drawn_once_a_part_and_seed(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls = toy(items=ITEMS), []
    draw = candidates.sampled_candidates
    monkeypatch.setattr(
        candidates, "sampled_candidates", lambda *given: (calls.append(given), draw(*given))[1]
    )
    table = random_scores(made.test)
    for seed in (1, 1, 2):
        protocols.ranks(Scorer(table), made.test, "cpu", seed=seed)
    protocols.ranks(Scorer(table), made.valid, "cpu", seed=1)
    assert calls == [(made.test, 1), (made.test, 2), (made.valid, 1)]


def test_candidates_differ_between_users(part: UR4RecDataset) -> None:
    drawn = candidates.sampled_candidates(part, 1)
    assert len({tuple(row) for row in drawn}) == len(part)


def test_candidates_of_ml100k_are_drawn_over_all_items(ml100k: tuple[Any, ...]) -> None:
    drawn = candidates.sampled_candidates(ml100k[2], 2020)
    counts = np.bincount(drawn.ravel(), minlength=ml100k[2].item_num)[1:]
    assert (counts > 0).all()
    assert drawn.shape == (943, 99)


def test_too_few_unseen_items_are_an_error(toy: Any) -> None:
    with pytest.raises(InputError, match="99 items that a user has not had.*user u10"):
        candidates.sampled_candidates(toy(items=ITEMS[:112]).test, 1)


def test_too_few_unseen_items_leave_the_sampled_protocols_out(toy: Any) -> None:
    made = toy()
    table = random_scores(made.test)
    found = protocols.measure(Scorer(table), made.test, made.config)
    assert set(found.metrics) == set(found.ranks) == {"full", "full_masked"}
    assert candidates.too_few_unseen(made.test) == "6 for user u10"


def test_metrics_of_known_ranks() -> None:
    settings = {"state": "ERROR", "topk": [1, 5], "valid_metric": "NDCG@5"}
    config = Config("UR4Rec", "ml-100k", config_dict=settings)
    found = protocols.metrics(np.array([1, 2, 6, 1000]), config)
    assert found["hit@1"] == 0.25
    assert found["hit@5"] == 0.5
    assert found["mrr@5"] == pytest.approx((1 + 1 / 2) / 4, abs=1e-4)
    assert found["ndcg@5"] == pytest.approx((1 + 1 / np.log2(3)) / 4, abs=1e-4)


def test_metrics_equal_recboles_on_scores_without_ties(ml100k: tuple[Any, ...]) -> None:
    """Trained by no one: an untrained SASRec's scores are as good as any to rank by."""
    settings = {
        "train_neg_sample_args": None, "state": "ERROR", "topk": [5, 10, 50], "hidden_size": 16,
        "metrics": ["Hit", "NDCG", "MRR", "Precision", "Recall", "MAP", "GAUC", "ItemCoverage",
                    "GiniIndex", "ShannonEntropy"],
        "valid_metric": "Hit@10", "n_layers": 1,
    }  # fmt: skip
    config = Config(model="SASRec", dataset="ml-100k", config_dict=settings)
    init_seed(1, True)
    train, valid, test = data_preparation(config, sort_exactly(create_dataset(config)))
    model = get_model("SASRec")(config, valid._dataset).eval()
    torch.nn.init.normal_(model.item_embedding.weight)
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)
    ours = UR4RecDataset(config).build()
    for loader, part in ((valid, ours[1]), (test, ours[2])):
        found = protocols.evaluate(model, part, config)
        expected = trainer.evaluate(loader, load_best_model=False)
        assert found["full"] == pytest.approx(dict(expected), abs=1e-7)
        assert expected["hit@50"] > 0
        assert found["uniform_99"]["hit@50"] > found["full_masked"]["hit@50"]


def test_a_general_model_is_evaluated_under_the_same_protocols(toy: Any) -> None:
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
    made = toy(model="BPR", eval_args=split, items=ITEMS, topk=[5])
    part = UR4RecDataset(made.config).build()[2]
    found = protocols.evaluate(made.model, part, made.config)
    assert set(found) == set(protocols.PROTOCOLS)


LISTS = ["ItemCoverage", "GiniIndex", "AveragePopularity", "ShannonEntropy", "TailPercentage"]


def test_metrics_of_whole_lists_belong_to_the_protocols_that_rank_all_items(toy: Any) -> None:
    made = toy(items=ITEMS, metrics=["Hit", "GAUC", *LISTS], topk=[1], valid_metric="Hit@1",
               tail_ratio=0.5)  # fmt: skip
    part = made.test
    part.training_counts = np.zeros(part.item_num, dtype=np.int64)
    part.training_counts[[128, 129, 130]] = 5, 40, 7
    table = torch.arange(part.item_num).expand(part.user_num, -1).float()
    found = protocols.evaluate(Scorer(table), part, made.config)
    for name in ("full", "full_masked"):  # item 130, nobody's, is recommended to all
        assert found[name]["itemcoverage@1"] == pytest.approx(1 / 131, abs=1e-4)
        assert found[name]["averagepopularity@1"] == 7
        assert found[name]["tailpercentage@1"] == 0  # of 5, 7 and 40 the first is the tail
    assert set(found["uniform_99"]) == set(found["popularity_99"]) == {"hit@1", "gauc"}
    lists = {"uniform_99": LISTS, "popularity_99": LISTS}
    assert protocols.left_out(made.config) == lists
    assert protocols.left_out({"metrics": ["AUC"]}).keys() == set(protocols.PROTOCOLS)


def test_gauc_is_the_share_of_other_candidates_behind_the_target(toy: Any) -> None:
    made = toy(items=ITEMS, metrics=["GAUC"], valid_metric="GAUC")
    table = random_scores(made.test)
    found = protocols.measure(Scorer(table), made.test, made.config)
    behind = (made.test.item_num - 1 - found.ranks["full"]) / (made.test.item_num - 2)
    assert found.metrics["full"]["gauc"] == pytest.approx(behind.mean(), abs=1e-4)
    behind = (100 - found.ranks["uniform_99"]) / 99
    assert found.metrics["uniform_99"]["gauc"] == pytest.approx(behind.mean(), abs=1e-4)


def test_lists_longer_than_the_catalogue_are_refused(toy: Any) -> None:
    with pytest.raises(InputError, match="topk.*at most 9"):
        protocols.check_cut_offs(toy().config, 9)


def test_a_measurement_names_users_subsets_and_lists(toy: Any) -> None:
    made = toy(items=ITEMS)
    part = made.test
    table = torch.arange(part.item_num).expand(part.user_num, -1).float()
    found = protocols.measure(Scorer(table), part, made.config)
    assert found.metrics.keys() == set(protocols.PROTOCOLS)
    expected = protocols.evaluate(Scorer(table), part, made.config)
    for name, values in found.metrics.items():
        assert values == expected[name] | {"mrr": pytest.approx(np.mean(1 / found.ranks[name]))}
    assert found.users.tolist() == [f"u{n}" for n in range(3, 11)]
    assert set(found.arrays("test")) == {f"test/{p}" for p in (*protocols.PROTOCOLS, "users")}
    # Items 121..130 are nobody's, so everyone is recommended the same ten.
    lists = found.details["full_masked/lists"]
    # RecBole's item number has the padding.
    assert lists["coverage@10"] == pytest.approx(10 / 131, abs=1e-6)
    assert lists["gini@10"] == pytest.approx(1 - 10 / 131, abs=1e-6)
    thirds = [found.details[f"full_masked/{name}"]["rows"] for name in ("short", "medium", "long")]
    assert sum(thirds) == len(part)


def test_subsets_follow_training_counts_alone(toy: Any) -> None:
    part = toy(items=ITEMS).test
    targets = part.inter_feat["item_id"].numpy()
    part.training_counts = np.zeros(part.item_num, dtype=np.int64)
    part.training_counts[21:61] = 50  # nobody's items
    chosen = np.unique(targets)[:3]
    part.training_counts[chosen] = 100, 6, 5
    found = subsets.subsets(part)
    assert np.array_equal(found["tail"], targets != chosen[0])
    assert np.array_equal(found["cold"], ~np.isin(targets, chosen[:2]))
    assert np.array_equal(found["unseen"], ~np.isin(targets, chosen))


def test_training_counts_leave_validation_and_test_out(ml100k: tuple[Any, ...]) -> None:
    train, valid, test = ml100k
    assert valid.training_counts.sum() == 100_000 - 2 * 943
    assert np.array_equal(train.training_counts, test.training_counts)
    whole = np.bincount(test.interactions["item_id"].numpy(), minlength=test.item_num)
    held = np.r_[valid.inter_feat["item_id"].numpy(), test.inter_feat["item_id"].numpy()]
    assert np.array_equal(test.training_counts, whole - np.bincount(held, minlength=test.item_num))


def test_the_head_is_a_fifth_of_the_items() -> None:
    assert np.flatnonzero(subsets.head(np.array([0, 1, 9, 3, 9, 0, 2, 8, 1, 1, 1]))).tolist() == [
        2,
        4,
    ]


def test_per_row_measures_average_to_recboles_metrics() -> None:
    config = Config("UR4Rec", "ml-100k", config_dict={"state": "ERROR", "topk": [10]})
    placed = np.array([1, 2, 6, 10, 11, 1000])
    found = protocols.metrics(placed, config)
    assert subsets.per_target(placed, "ndcg@10").mean() == pytest.approx(found["ndcg@10"], abs=1e-4)
    assert subsets.per_target(placed, "hit@10").mean() == pytest.approx(found["hit@10"], abs=1e-4)
