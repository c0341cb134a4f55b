"""UR4Rec: causal, blind to its batch, equal to SASRec without its retriever."""

from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction, cat_interactions
from torch import Tensor

from tests import reference
from tests.conftest import Toy, make_profiles, sequences
from tests.model.test_encoder import sasrec_for
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import HISTORY_END, LATER, sort_exactly
from ur4rec_recbole.model import ur4rec
from ur4rec_recbole.model.excluded import Excluded, known
from ur4rec_recbole.model.objective import item_counts
from ur4rec_recbole.model.positions import Positions
from ur4rec_recbole.model.scores import DotScores
from ur4rec_recbole.model.stages import SCORES, read_stages

STAGES = ["pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end"]
LIST = ("item_id_list", "timestamp_list")


def predict_by(model: Any, kind: str) -> Any:
    model.score.fill_(SCORES.index(kind))
    return model


def trained(model: Any, interaction: Any) -> tuple[Positions, torch.Tensor]:
    """The trained positions and their targets [P]."""
    found: tuple[Positions, torch.Tensor] = model._positions(
        interaction, Positions(interaction["item_id_list"] > 0)
    )
    return found


def position_scores(model: Any, interaction: Interaction, kind: str = "fused") -> Tensor:
    """Scores at all positions, as training computes them, [P, N]."""
    seq = interaction["item_id_list"]
    chosen, _ = trained(model, interaction)
    table = model.item_embedding(model.features)
    h = model(interaction, table)[chosen.mask[seq > 0]]
    query = torch.arange(seq.shape[1]).expand_as(seq)
    r, _ = model.retrieve(h, chosen, interaction, query)
    return model.scores(h, r, table, [kind])[kind]


def train_rows(made: Toy) -> Interaction:
    return made.rows(made.train)


@pytest.mark.parametrize("exclude_history", [False, True])
@torch.no_grad()
def test_without_the_retriever_scores_equal_recboles_sasrec(
    toy: Any, exclude_history: bool
) -> None:
    made = toy(n_layers=2, exclude_history=exclude_history)
    settings = {
        key: made.config[key]
        for key in ("data_path", "load_col", "hidden_size", "inner_size", "n_layers")
    }
    settings |= {"MAX_ITEM_LIST_LENGTH": 5}
    sasrec = sasrec_for(made.train, "toy", **settings)
    reference.copy_sasrec(sasrec, made.model)
    model = predict_by(made.model, "sequence")
    for part in (made.valid, made.test):
        rows = made.rows(part)
        ours, theirs = model.full_sort_predict(rows), sasrec.full_sort_predict(rows)
        kept = torch.isfinite(ours)
        # RecBole scores padding, and items that training never had by random vectors.
        assert kept[:, model.warm].all() != exclude_history
        assert not kept[:, ~model.warm].any()
        assert torch.allclose(ours[kept], theirs[kept], atol=1e-5)


@torch.no_grad()
def test_predict_equals_full_sort_predict_gathered(full_toy: Any) -> None:
    made = full_toy()
    for kind in SCORES:
        model = predict_by(made.model, kind)
        rows = made.rows()
        whole = model.full_sort_predict(rows)
        expected = whole.gather(1, rows["item_id"].unsqueeze(1)).squeeze(1)
        assert torch.equal(model.predict(rows), expected)


@pytest.mark.parametrize("kept_pointers", [True, False])
@torch.no_grad()
def test_predict_scores_each_repeated_row_for_its_own_item(
    full_toy: Any, kept_pointers: bool
) -> None:
    made = full_toy()
    rows = made.rows()
    n_items = made.train.item_num
    repeated = rows.repeat_interleave(n_items)
    repeated.update(Interaction({"item_id": torch.arange(n_items).repeat(len(rows))}))
    if not kept_pointers:
        for field in ("history_start", "history_end"):
            repeated.drop(field)
            rows.drop(field)
    shuffle = torch.randperm(len(repeated))
    expected = made.model.full_sort_predict(rows).flatten()[shuffle]
    assert torch.allclose(made.model.predict(repeated[shuffle]), expected, atol=1e-5)


@torch.no_grad()
def test_predict_equals_full_sort_predict_in_recboles_uni100_loader(full_toy: Any) -> None:
    made = full_toy(
        eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni100"},
        items=[f"i{n}" for n in range(1, 40)],
    )
    whole = dict(
        zip(
            made.valid.inter_feat["user_id"].tolist(),
            made.model.full_sort_predict(made.rows()),
            strict=True,
        )
    )
    count = 0
    for batch, _, _, _ in made.loaders[1]:
        found = made.model.predict(batch)
        expected = torch.stack(
            [
                whole[user][item]
                for user, item in zip(
                    batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True
                )
            ]
        )
        assert torch.allclose(found, expected, atol=1e-5)
        count += len(found)
    assert count == 101 * len(made.valid)


@pytest.mark.parametrize("longest", [2, 5, 50])
@torch.no_grad()
def test_exclude_history_removes_exactly_the_known_items(full_toy: Any, longest: int) -> None:
    histories = sequences()
    histories["u6"][3] = histories["u6"][0]  # an item that occurs twice
    made = full_toy(exclude_history=True, histories=histories, MAX_ITEM_LIST_LENGTH=longest)
    for part, held_out in ((made.valid, 2), (made.test, 1)):
        rows = made.rows(part)
        scores = made.model.full_sort_predict(rows)
        users = part.id2token("user_id", rows["user_id"].numpy())
        for user, row in zip(users, scores, strict=True):
            history = histories[user][: len(histories[user]) - held_out]
            if len(histories[user]) == 3 and held_out == 1:
                history = histories[user][:2]
            known = set(torch.isinf(row).nonzero().flatten().tolist()) - {0}
            assert known == set(made.item_ids(history).tolist()), user


@torch.no_grad()
def test_exclude_history_changes_no_other_score(full_toy: Any) -> None:
    made = full_toy()
    before = made.model.full_sort_predict(made.rows())
    made.model.config["exclude_history"] = True
    after = made.model.full_sort_predict(made.rows())
    kept = torch.isfinite(after)
    assert not kept.all()
    assert torch.equal(after[kept], before[kept])


def unknown_to_encoder(made: Toy, items: set[int]) -> tuple[Interaction, int]:
    """Rows of three items, with room for a fourth, and one of `items` that they lack, now cold."""
    rows = made.rows()
    full = rows[rows["item_length"] == 3]
    assert len(full)
    [cold, *_] = items - set(full["item_id_list"].flatten().tolist())
    made.model.item_embedding.warm[cold] = False
    return full, cold


@pytest.mark.parametrize("place", [0, 1, 3])
@torch.no_grad()
def test_what_nothing_is_known_of_is_left_out_of_a_history(toy: Any, place: int) -> None:
    made = toy(n_layers=2, time_intervals=True, exclude_history=False)
    full, cold = unknown_to_encoder(made, set(range(1, made.train.item_num)))
    expected = made.model.full_sort_predict(full)
    for field, value in (("item_id_list", cold), ("exact_seconds_list", 7.0)):
        listed = full[field][:, :4]  # the fifth is padding
        new = torch.full_like(listed[:, :1], value)
        full.interaction[field] = torch.cat([listed[:, :place], new, listed[:, place:]], dim=1)
    full.interaction["item_length"] = full["item_length"] + 1
    torch.testing.assert_close(made.model.full_sort_predict(full), expected)
    full.interaction["item_id_list"] = torch.full_like(full["item_id_list"], cold)
    alone = made.model.full_sort_predict(full)
    assert torch.equal(alone.isfinite(), expected.isfinite())
    kept = alone.isfinite()
    assert torch.equal(alone[kept], made.model.popularity.expand_as(alone)[kept])


@torch.no_grad()
def test_experts_read_the_content_of_an_item_that_the_encoder_does_not_know(full_toy: Any) -> None:
    made = full_toy(exclude_history=False)
    described = made.item_ids([f"i{n}" for n in range(1, 16)])
    full, cold = unknown_to_encoder(made, set(described.tolist()))
    before = {kind: predict_by(made.model, kind).full_sort_predict(full) for kind in SCORES}
    full["item_id_list"][:, 3] = cold
    full.interaction["item_length"] = full["item_length"] + 1
    after = {kind: predict_by(made.model, kind).full_sort_predict(full) for kind in SCORES}
    torch.testing.assert_close(after["sequence"], before["sequence"])
    assert not torch.allclose(after["retrieval"][:, 1:], before["retrieval"][:, 1:], atol=1e-3)


@torch.no_grad()
def test_popularity_adds_to_the_sequence_score_what_it_says(full_toy: Any) -> None:
    made = full_toy(exclude_history=False)
    rows, model = made.rows(), predict_by(made.model, "sequence")
    before = model.full_sort_predict(rows)
    model.config["popularity_prior"] = 0.5
    gained = model.full_sort_predict(rows) - before
    expected = 0.5 * torch.log1p(item_counts(made.train).float())
    kept = before.isfinite()
    torch.testing.assert_close(gained[kept], expected.expand_as(gained)[kept])


def test_training_never_competes_with_what_the_user_has_had(full_toy: Any) -> None:
    histories = sequences()
    made = full_toy(exclude_history=True)
    rows = train_rows(made)
    chosen, targets = trained(made.model, rows)
    excluded = known(made.model._history(rows, chosen), made.train.item_num)
    users = made.train.id2token("user_id", rows["user_id"].numpy())
    position = 0
    for b, t in chosen.mask.nonzero().tolist():
        history = histories[users[b]]
        end = int(rows[HISTORY_END][b] - rows["history_start"][b])
        count = end - int(rows["item_length"][b]) + t + 1
        had = set(made.item_ids(history[:count]).tolist())
        marked = set(excluded[position].nonzero().flatten().tolist()) - {0}
        assert marked == had
        assert targets[position] == made.item_ids(history[count : count + 1])[0]
        position += 1
    assert position == len(excluded)


@pytest.mark.parametrize("kind", SCORES)
@torch.no_grad()
def test_later_items_never_change_earlier_scores(full_toy: Any, kind: str) -> None:
    made = full_toy(encoder_content=True)
    rows = train_rows(made)
    before = position_scores(made.model, rows, kind)
    where = (rows["item_id_list"] > 0).nonzero()
    for cut in range(1, 5):
        changed = rows["item_id_list"].clone()
        later = (torch.arange(5) >= cut) & (changed > 0)
        assert later.any()
        changed[later] = 1 + (changed[later] + 6) % (made.train.item_num - 1)
        other = Interaction(dict(rows.interaction) | {"item_id_list": changed})
        after = position_scores(made.model, other, kind)
        early = where[:, 1] < cut
        assert torch.allclose(after[early], before[early], atol=1e-6)
        assert not torch.allclose(after[~early], before[~early], atol=1e-2)


@torch.no_grad()
def test_later_profile_snapshots_never_change_earlier_scores(full_toy: Any) -> None:
    made = full_toy()
    model, rows = made.model, train_rows(made)
    before = position_scores(model, rows, "retrieval")
    start = rows[HISTORY_END] - rows["history_start"] - rows["item_length"]
    chosen, _ = trained(model, rows)
    known = (start.unsqueeze(1) + torch.arange(5) + 1)[chosen.mask]
    lengths = torch.cat([torch.zeros(1).long(), model.features.profile_keys]) % (
        model.features.profile_base
    )
    kept = model.features.profile_vectors.clone()
    for cut in (2, 4, 6, 9):
        model.features.profile_vectors.copy_(kept)
        model.features.profile_vectors[lengths > cut] += 5
        after = position_scores(model, rows, "retrieval")
        assert torch.allclose(after[known <= cut], before[known <= cut], atol=1e-6)
        assert not torch.allclose(after[known > cut], before[known > cut], atol=1e-2)


@torch.no_grad()
def test_a_changed_target_changes_no_score(full_toy: Any) -> None:
    histories = sequences()
    for held_out in (1, 2):
        scores = []
        for change in (False, True):
            changed = {user: list(items) for user, items in histories.items()}
            if change:
                spare = next(i for i in histories["u9"] if i not in histories["u10"])
                changed["u10"][-held_out] = spare
            made = full_toy(histories=changed, items=[f"i{n}" for n in range(1, 21)])
            user = made.train.token2id("user_id", "u10")
            part = made.valid if held_out == 2 else made.test
            row = part[(part.inter_feat["user_id"] == user).nonzero().flatten()]
            order = torch.from_numpy(made.item_ids([f"i{n}" for n in range(1, 21)]))
            table = made.model.item_embedding.id.weight
            table[order] = torch.arange(20 * 16.0).view(20, 16).sin()
            scores.append(made.model.full_sort_predict(row)[:, order])
        assert torch.allclose(scores[0], scores[1], atol=1e-6)


@pytest.mark.parametrize("router_top_k", [0, 2])
@torch.no_grad()
def test_the_batch_around_a_row_does_not_change_its_scores(
    full_toy: Any, router_top_k: int
) -> None:
    made = full_toy(router_top_k=router_top_k, exclude_history=True)
    rows = made.rows(made.test)
    whole = made.model.full_sort_predict(rows)
    for n in range(len(rows)):
        alone = made.model.full_sort_predict(rows[torch.tensor([n])])
        assert torch.allclose(alone[0], whole[n], atol=1e-5)
    order = torch.randperm(len(rows))
    assert torch.allclose(made.model.full_sort_predict(rows[order]), whole[order], atol=1e-5)


@torch.no_grad()
def test_training_positions_score_as_prediction_does(full_toy: Any) -> None:
    made = full_toy()
    rows = made.rows(made.valid)
    chosen, _ = trained(made.model, rows)
    last = chosen.mask.sum(1).cumsum(0) - 1
    for kind in SCORES:
        whole = position_scores(made.model, rows, kind)
        predicted = predict_by(made.model, kind).full_sort_predict(rows)
        kept = torch.isfinite(predicted)  # all items of which something is known
        assert kept.any(0).sum() >= made.model.warm.sum()
        assert torch.allclose(whole[last][kept], predicted[kept], atol=1e-5)


def test_histories_of_length_1_and_users_without_a_profile_give_no_nan(full_toy: Any) -> None:
    made = full_toy(exclude_history=True, router_top_k=2)
    rows = made.rows(made.test)
    short = made.valid.token2id("user_id", "u3")  # three items: no validation row
    rows.update(Interaction({LATER: torch.zeros(len(rows))}))
    rows = cat_interactions([rows, made.rows(made.train)])
    assert short in rows["user_id"].tolist()
    assert 1 in rows["item_length"].tolist()
    assert made.train.token2id("user_id", "u4") in rows["user_id"].tolist()
    assert not torch.isnan(made.model.full_sort_predict(rows)).any()
    for stage in read_stages(made.config):
        made.model.enter(stage)
        for loss in made.model.named_losses(train_rows(made)).values():
            assert torch.isfinite(loss)
            if loss.requires_grad:
                loss.backward(retain_graph=True)
        grads = [p.grad for p in made.model.parameters() if p.grad is not None]
        assert all(torch.isfinite(grad).all() for grad in grads)
        made.model.zero_grad()


@pytest.mark.parametrize("stage", range(4), ids=STAGES)
def test_bfloat16_runs_and_stays_close(full_toy: Any, stage: int) -> None:
    made = full_toy(num_negatives=0, router_top_k=0)
    made.model.enter(read_stages(made.config)[stage])
    rows = train_rows(made)
    exact = sum(made.model.named_losses(rows).values())
    with torch.autocast("cpu", torch.bfloat16):
        rough = sum(made.model.named_losses(rows).values())
    rough.backward()
    assert rough.item() == pytest.approx(exact.item(), rel=0.1)
    grads = [p.grad for p in made.model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("kind", SCORES)
@torch.no_grad()
def test_bfloat16_predictions_are_scored_in_full_and_stay_close(full_toy: Any, kind: str) -> None:
    made = full_toy()
    model = predict_by(made.model, kind)
    exact = model.full_sort_predict(made.rows())
    model.config["enable_amp"] = True
    rough = model.full_sort_predict(made.rows())
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.05 * float(exact.abs().max()))
    distinct = [len(row.unique()) for row in rough[:, 1:]]
    assert min(distinct) == rough.shape[1] - 1  # no ties by rounding


@pytest.mark.parametrize("kind", SCORES)
@torch.no_grad()
def test_items_are_computed_once_while_they_are_kept(full_toy: Any, kind: str) -> None:
    made = full_toy()
    model, calls = predict_by(made.model, kind), []
    model.item_embedding.register_forward_hook(lambda *_: calls.append("table"))
    model.items.register_forward_hook(lambda *_: calls.append("items"))
    rows = made.rows()
    expected = model.full_sort_predict(rows)
    calls.clear()
    with model.items_kept():
        for _ in range(2):
            with model.items_kept():  # within another, that goes on
                assert torch.equal(model.full_sort_predict(rows), expected)
    assert calls == (["table"] if kind == "sequence" else ["table", "items"])
    model.item_embedding.id.weight.mul_(2)
    assert not torch.equal(model.full_sort_predict(rows), expected)


def test_bfloat16_runs_with_top_k(full_toy: Any) -> None:
    made = full_toy(router_top_k=2, router_noise=0.1).model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(made.named_losses(_batch(made)).values())
    loss.backward()
    assert torch.isfinite(loss)


def _batch(model: Any) -> Interaction:
    """One right-padded training row without pointers."""
    seq = torch.tensor([[3, 1, 2, 0, 0]])
    return Interaction(
        {
            "user_id": torch.tensor([5]),
            "item_id_list": seq,
            "item_length": torch.tensor([3]),
            "item_id": torch.tensor([4]),
        }
    )


def test_positions_and_targets_of_a_window(toy: Any) -> None:
    chosen, targets = trained(toy().model, _batch(None))
    assert chosen.mask.tolist() == [[True, True, True, False, False]]
    assert targets.tolist() == [1, 2, 4]


def test_loss_without_exclusion_equals_the_naive_cross_entropy(toy: Any) -> None:
    made = toy(stages=["pretrain_sasrec"])
    rows = train_rows(made)
    scores = position_scores(made.model, rows, "sequence")
    _, targets = trained(made.model, rows)
    (loss,) = made.model.calculate_loss(rows)
    assert torch.allclose(loss, reference.next_item(scores, targets), atol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "bpr", "gbce"])
def test_targets_of_late_count_more(toy: Any, loss: str) -> None:
    made = toy(
        histories=sequences([17, 4, 9]), stages=["pretrain_sasrec"], sequence_loss=loss,
        target_recency=0.5, num_negatives=4,
    )  # fmt: skip
    made.model.objective.sampler.sampling = lambda count: np.arange(1, count + 1)
    rows = train_rows(made)
    # Of 17 items 14 are targets, and two windows have the first of them.
    later = {
        (made.train.token2id("user_id", user), made.train.token2id("item_id", item)): place
        for user, items in sequences([17, 4, 9]).items()
        for place, item in enumerate(items[-3:0:-1])
    }
    assert len(rows) == 3 + 1 + 2
    chosen, targets = trained(made.model, rows)
    users = rows["user_id"][chosen.row].tolist()
    counts = [(1 + later[pair]) ** -0.5 for pair in zip(users, targets.tolist(), strict=True)]
    alone = []
    for power in (0.5, 0.0):
        made.model.config["target_recency"] = power
        assert made.model.count_targets(rows).item() == pytest.approx(
            sum(counts) if power else len(counts)
        )
        alone.append(made.model.named_losses(rows)["sequence"])
    assert len(counts) == len(later)
    scores = position_scores(made.model, rows, "sequence")
    weighted = [
        count * made.model.objective(
            "sequence", DotScores(torch.eye(1), scores[p : p + 1].T), targets[p : p + 1],
            Excluded(made.model.warm), made.model.objective.draw("sequence", targets[p : p + 1]), 1,
        ).item() for p, count in enumerate(counts)
    ]  # fmt: skip
    assert alone[0].item() == pytest.approx(sum(weighted) / sum(counts), rel=1e-4)
    assert abs(alone[0] - alone[1]) > 1e-4


def test_sampled_loss_uses_as_many_negatives_as_it_is_told(full_toy: Any) -> None:
    made = full_toy(num_negatives=7, stages=["pretrain_retriever"], load_balance_weight=0.0)
    asked = []
    draw = made.model.objective.sampler.sampling

    def sampling(count: int) -> np.ndarray:
        asked.append(count)
        return draw(count)

    made.model.objective.sampler.sampling = sampling
    loss = made.model.named_losses(train_rows(made))
    assert asked == [7]
    assert list(loss) == ["retrieval"]


def test_sampled_loss_equals_the_naive_info_nce(full_toy: Any) -> None:
    made = full_toy(stages=["pretrain_retriever"], exclude_history=True)
    rows = train_rows(made)
    drawn = np.array([1, 4, 9, 4, 12])
    made.model.objective.sampler.sampling = lambda _: drawn
    scores = position_scores(made.model, rows, "retrieval")
    chosen, targets = trained(made.model, rows)
    history = known(made.model._history(rows, chosen), made.train.item_num)
    false = (targets.unsqueeze(1) == torch.from_numpy(drawn)) | history[:, drawn]
    positive = scores[torch.arange(len(targets)), targets]
    expected = reference.info_nce(positive, scores[:, drawn], false)
    assert false.any()
    found = made.model.named_losses(rows)["retrieval"]
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES[:2])
@pytest.mark.parametrize("encoder_content", [False, True])
def test_a_step_on_its_own_items_alone_is_the_step_on_all(
    full_toy: Any, stage: str, encoder_content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.array([1, 4, 9, 4, 12])
    outcomes = []
    for ordinary in (ur4rec.ORDINARY, 0):
        monkeypatch.setattr(ur4rec, "ORDINARY", ordinary)
        made = full_toy(
            stages=[stage], sequence_loss="sampled_softmax", encoder_content=encoder_content,
            exclude_history=True, item_id_dropout=0.5,
        )  # fmt: skip
        made.model.objective.sampler.sampling = lambda _: drawn
        made.model.enter(read_stages(made.config)[0])
        torch.manual_seed(3)
        named = made.model.train().named_losses(train_rows(made))
        sum(named.values()).backward()
        grads = {n: p.grad for n, p in made.model.named_parameters() if p.grad is not None}
        outcomes.append((named, grads))
    torch.testing.assert_close(outcomes[1], outcomes[0])
    assert outcomes[0][1]


def test_in_a_large_catalogue_the_items_of_the_batch_are_aligned(
    full_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ur4rec, "ORDINARY", 0)
    found = []
    for stage in STAGES[1:3]:  # the second needs the vectors of all items, for its fused score
        made = full_toy(stages=[stage], contrastive_weight=1.0)
        made.model.objective.sampler.sampling = lambda _: np.array([1, 4])
        rows = train_rows(made)[torch.tensor([0])]
        items = torch.cat([rows["item_id_list"][0], rows["item_id"], torch.tensor([0, 1, 4])])
        items = items.unique()
        table = made.model.item_embedding(made.model.features)
        views = made.model.items.parts(table, made.model.features)
        of_batch = {name: view[items] for name, view in views.items()}
        expected = made.model._alignment(of_batch, items)
        assert not torch.isclose(expected, made.model._alignment(views, None))
        found.append((made.model.named_losses(rows)["contrastive"], expected))
    for loss, expected in found:
        torch.testing.assert_close(loss, expected)


def test_negatives_come_from_training_interactions_alone(toy: Any) -> None:
    histories = {f"u{n}": [f"i{n % 3}", f"i{n % 3 + 3}", "held", "out"] for n in range(9)}
    made = toy(histories, negative_distribution="popularity")
    drawn = set(made.model.objective.sampler.sampling(500).tolist())
    assert drawn == set(made.item_ids([f"i{n}" for n in range(6)]).tolist())


@pytest.mark.parametrize(("stage", "names"), zip(STAGES, (
    {"sequence"},
    {"retrieval", "load_balance", "contrastive"},
    {"fused", "sequence", "retrieval", "load_balance", "contrastive"},
    {"fused", "load_balance", "contrastive"},
), strict=True))  # fmt: skip
def test_each_stage_takes_its_own_losses(full_toy: Any, stage: str, names: set[str]) -> None:
    made = full_toy(stages=[stage], contrastive_weight=0.3)
    assert set(made.model.named_losses(train_rows(made))) == names


@pytest.mark.parametrize("key", ["load_balance_weight", "contrastive_weight"])
def test_a_weight_scales_its_loss(full_toy: Any, key: str) -> None:
    name = key.removesuffix("_weight")
    found = []
    for weight in (0.5, 1.0):
        made = full_toy(stages=["pretrain_retriever"], **{key: weight})
        found.append(made.model.named_losses(train_rows(made))[name].item())
    assert found[1] == pytest.approx(2 * found[0], rel=1e-4)
    assert found[0] > 0


def test_a_loss_weight_of_a_stage_scales_its_loss(toy: Any) -> None:
    losses = []
    for weight in (1.0, 3.0):
        stage = {"name": "pretrain_sasrec", "losses": {"sequence": weight}}
        made = toy(stages=[stage])
        losses.append(made.model.calculate_loss(train_rows(made))[0].item())
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)


def test_without_any_table_the_retriever_runs_with_all_modalities_masked(toy: Any) -> None:
    made = toy()
    scores = predict_by(made.model, "fused").full_sort_predict(made.rows())
    assert torch.isfinite(scores[:, made.model.warm]).all()
    losses = made.model.named_losses(train_rows(made))
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()


def test_every_parameter_of_a_full_model_learns_in_the_last_stage(full_toy: Any) -> None:
    made = full_toy(fusion="gated", encoder_content=True, exclude_history=True)
    made.model.enter(read_stages(made.config)[-1])
    sum(made.model.calculate_loss(train_rows(made))).backward()
    unused = {n for n, p in made.model.named_parameters() if p.grad is None or not p.grad.any()}
    # A key's bias moves all logits of a softmax alike, so its gradient is 0 but for rounding.
    assert {name for name in unused if not name.endswith("key.bias")} == set()


def test_one_window_costs_what_recboles_prefixes_cost_together(toy: Any) -> None:
    made = toy(sequences((4, 5, 6, 7)), stages=["pretrain_sasrec"])  # each fits a window
    train = sort_exactly(SequentialDataset(made.config)).build()[0]
    model = type(made.model)(made.config, train)
    model.load_state_dict(made.model.state_dict())
    for own, other in ((model, made.model), (model.item_embedding, made.model.item_embedding)):
        own.warm = other.warm  # first interactions are no rows of RecBole's
    prefixes = train[np.arange(len(train))]
    chosen, targets = trained(model, prefixes)
    assert (chosen.mask.sum(1) == 1).all()
    assert torch.equal(targets, prefixes["item_id"])
    assert len(prefixes) == 10
    assert len(train_rows(made)) == 4
    (ours,), (theirs,) = (
        network.eval().calculate_loss(rows)
        for network, rows in ((made.model, train_rows(made)), (model, prefixes))
    )
    assert torch.allclose(ours, theirs, atol=1e-5)
    wanted = [made.model.item_embedding.id.weight], [model.item_embedding.id.weight]
    (left,), (right,) = (
        torch.autograd.grad(loss, weights)
        for loss, weights in zip((ours, theirs), wanted, strict=True)
    )
    assert torch.allclose(left, right, atol=1e-5)


def test_recboles_negatives_are_refused(toy: Any) -> None:
    made = toy(train_neg_sample_args={"distribution": "uniform", "sample_num": 5})
    with pytest.raises(InputError, match="train_neg_sample_args must be ~.*num_negatives"):
        made.new_model()


def test_the_score_kind_travels_with_the_checkpoint(toy: Any) -> None:
    made = toy()
    predict_by(made.model, "sequence")
    other = made.new_model(seed=3)
    other.load_state_dict(made.model.state_dict())
    assert SCORES[int(other.score)] == "sequence"
    assert torch.equal(
        other.full_sort_predict(made.rows()), made.model.full_sort_predict(made.rows())
    )


def test_the_same_seed_builds_the_same_model(full_toy: Any) -> None:
    made = full_toy()
    one, two = made.new_model(5).state_dict(), made.new_model(5).state_dict()
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_a_profile_changes_scores_only_through_its_own_user(full_toy: Any) -> None:
    made = full_toy()
    rows = made.rows()
    before = made.model.full_sort_predict(rows)
    features = made.model.features
    user = made.train.token2id("user_id", "u9")
    own = torch.cat([torch.tensor([-1]), features.profile_keys // features.profile_base]) == user
    assert own.any()
    features.profile_vectors[own] += 3
    changed = (made.model.full_sort_predict(rows) != before).any(1)
    assert rows["user_id"][changed].tolist() == [user]


def test_the_profile_of_a_long_history_is_the_newest_one(full_toy: Any) -> None:
    made = full_toy()  # windows of 5, while u10 knows 12 items at validation
    table = make_profiles(made.train)
    longest = int(table.lengths[table.tokens == "u10"].max())
    features = made.model.features
    user = made.train.token2id("user_id", "u10")
    row = made.valid[(made.valid.inter_feat["user_id"] == user).nonzero().flatten()]
    before = made.model.full_sort_predict(row)
    newest = (features.profile_keys == user * features.profile_base + longest).nonzero().item()
    features.profile_vectors[newest + 1] += 3
    assert not torch.allclose(made.model.full_sort_predict(row), before, atol=1e-3)


def test_without_experts_the_retrieval_state_is_the_normed_sequence_state(full_toy: Any) -> None:
    made = full_toy(n_sub_experts=0)
    rows = train_rows(made)
    where = rows["item_id_list"] > 0
    table = made.model.item_embedding(made.model.features)
    h = made.model(rows, table)
    query = torch.arange(where.shape[1]).expand_as(where)
    r, routes = made.model.retrieve(h, Positions(where), rows, query)
    torch.testing.assert_close(r, torch.nn.functional.layer_norm(h, h.shape[1:], eps=1e-12))
    assert routes.modal.shape == (len(h), 0)
    assert "load_balance" not in made.model.named_losses(rows)


def test_alignment_takes_every_two_views_that_there_are(full_toy: Any, toy: Any) -> None:
    made = full_toy(stages=["pretrain_retriever"], contrastive_weight=1.0)
    model = made.model
    parts = model.items.parts(model.item_embedding(model.features), model.features)
    present = {name: model.features.present(name) for name in ("text", "image")}
    present["id"] = torch.arange(made.train.item_num) > 0
    pairs = [("id", "text"), ("id", "image"), ("text", "image")]
    expected = sum(
        reference.alignment(parts[a], parts[b], present[a] & present[b], 0.07) for a, b in pairs
    ) / len(pairs)
    torch.testing.assert_close(model.named_losses(train_rows(made))["contrastive"], expected)
    bare = toy(stages=["pretrain_retriever"], contrastive_weight=1.0)
    assert bare.model.named_losses(train_rows(bare))["contrastive"] == 0
