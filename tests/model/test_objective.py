"""Negatives and the losses over them."""

import math

import pytest
import torch
from torch.nn import functional

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model import losses, negatives
from ur4rec_recbole.model.excluded import Excluded
from ur4rec_recbole.model.objective import Objective
from ur4rec_recbole.model.scores import DotScores, Scores


class FixedSampler:
    """Draws the same items every time."""

    def __init__(self, items: list[int]) -> None:
        self.items = items

    def sampling(self, count: int) -> "torch.Tensor":
        return torch.tensor(self.items[:count]).numpy()


SETTINGS = {
    "sequence_loss": "softmax",
    "retrieval_loss": "sampled_softmax",
    "fused_loss": "softmax",
    "num_negatives": 3,
    "negative_distribution": "uniform",
    "logq_correction": False,
    "gbce_calibration": 0.75,
    "hard_negative_share": 0.0,
    "hard_negative_warmup": 1,
}
COUNTS = torch.tensor([0, 8, 4, 2, 1, 0])
NO_CHANCE = torch.zeros(6)


def objective(items: list[int], **settings: object) -> Objective:
    return Objective({**SETTINGS, **settings}, FixedSampler(items), COUNTS)  # type: ignore[arg-type]


def loss(
    made: Objective, kind: str, scores: torch.Tensor, targets: torch.Tensor, epoch: int = 1
) -> torch.Tensor:
    """Return the loss of scores [P, N], each item's vector being its column of them."""
    given = DotScores(torch.eye(len(scores)), scores.T)
    warm = torch.arange(scores.shape[1]) > 0
    return made(kind, given, targets, Excluded(warm), made.draw(kind, targets), epoch)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 6, generator=generator), torch.tensor([1, 2, 3, 5])


def test_a_position_keeps_its_target_and_its_known_items_out_of_the_negatives(batch) -> None:
    scores, targets = batch
    known = torch.zeros(4, 6, dtype=torch.bool)
    known[0, 4] = True
    drawn = negatives.add_hard_negatives(
        torch.tensor([1, 4]), NO_CHANCE, scores, targets, known, share=0.0
    )
    assert drawn.items.tolist() == [[1, 4]] * 4
    assert drawn.false.tolist() == [[True, True], [False, False], [False, False], [False, False]]


def test_hard_negatives_are_the_best_items_that_are_wrong() -> None:
    scores = torch.tensor([[9.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    known = torch.zeros(1, 6, dtype=torch.bool)
    known[0, 2] = True  # the best but the target (1) and padding (0), were it not known
    shared, targets = torch.tensor([5, 5, 5, 5]), torch.tensor([1])
    drawn = negatives.add_hard_negatives(shared, NO_CHANCE, scores, targets, known, 0.5)
    assert drawn.items.tolist() == [[3, 4, 5, 5]]
    assert not drawn.false.any()


def test_hard_negatives_wait_for_their_warm_up(batch) -> None:
    scores, targets = batch
    made = objective([4, 4, 4], hard_negative_share=1.0, hard_negative_warmup=2)
    calm = loss(made, "retrieval", scores, targets, 2)
    hard = loss(made, "retrieval", scores, targets, 3)
    mined = scores.clone()
    mined[:, 0] = -torch.inf
    mined.scatter_(1, targets.unsqueeze(1), -torch.inf)
    expected = losses.info_nce(
        scores.gather(1, targets.unsqueeze(1)).squeeze(1),
        mined.topk(3).values,
        torch.zeros(4, 3, dtype=torch.bool),
    )
    torch.testing.assert_close(hard, expected)
    assert hard > calm


def test_in_batch_negatives_are_the_other_targets(batch) -> None:
    scores, targets = batch
    found = loss(objective([], negative_distribution="in_batch"), "retrieval", scores, targets)
    logits = scores[:, targets]
    torch.testing.assert_close(found, functional.cross_entropy(logits, torch.arange(4)))


def test_log_q_of_popularity_is_the_share_of_interactions() -> None:
    log_q = negatives.log_probability("popularity", COUNTS)
    assert log_q[1].exp().item() == pytest.approx(8 / 15.5)  # the unseen item counts as a half
    assert log_q[1:].exp().sum().item() == pytest.approx(1.0)


def test_log_q_correction_favours_no_item_for_being_drawn_often(batch) -> None:
    scores, targets = batch
    made = objective([2, 3, 4], negative_distribution="popularity", logq_correction=True)
    corrected = scores - negatives.log_probability("popularity", COUNTS)
    plain = loss(objective([2, 3, 4]), "retrieval", corrected, targets)
    torch.testing.assert_close(loss(made, "retrieval", scores, targets), plain)


def test_log_q_correction_by_a_uniform_draw_changes_nothing(batch) -> None:
    scores, targets = batch
    losses_ = [
        loss(objective([2, 3, 4], logq_correction=on), "retrieval", scores, targets)
        for on in (False, True)
    ]
    torch.testing.assert_close(*losses_)


class Whole(DotScores):
    """Scores that are asked for as a whole, as fused ones are."""

    next_item = Scores.next_item


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("kind", ["sequence", "retrieval"])
@pytest.mark.parametrize("scored", [DotScores, Whole])
def test_a_position_counts_as_much_as_it_weighs(batch, share, kind, scored) -> None:
    scores, targets = batch
    made = objective([2, 3, 4], hard_negative_share=share)
    warm = torch.arange(scores.shape[1]) > 0

    def weighted(at: slice, weights: torch.Tensor | None) -> torch.Tensor:
        given, asked = scored(torch.eye(4)[at], scores.T), targets[at]
        return made(kind, given, asked, Excluded(warm), made.draw(kind, asked), 2, weights)

    weights = torch.tensor([0.0, 0.5, 1.0, 2.5])
    each = torch.stack([weighted(slice(p, p + 1), None) for p in range(4)])
    torch.testing.assert_close(weighted(slice(None), weights), (each * weights).mean())


def test_each_score_has_its_own_loss(batch) -> None:
    scores, targets = batch
    made = objective([2, 3, 4], sequence_loss="bpr", fused_loss="gbce")
    positive = scores.gather(1, targets.unsqueeze(1)).squeeze(1)
    negative, false = scores[:, [2, 3, 4]], targets.unsqueeze(1) == torch.tensor([2, 3, 4])
    expected = {
        "sequence": losses.bpr(positive, negative, false),
        "retrieval": losses.info_nce(positive, negative, false),
        "fused": losses.gbce(positive, negative, false, 3 / 4, 0.75),
    }
    for kind, value in expected.items():
        torch.testing.assert_close(loss(made, kind, scores, targets), value)


def test_a_drawn_item_that_is_mined_too_counts_once() -> None:
    scores, targets = torch.tensor([[9.0, 5.0, 4.0, 3.0, 2.0, 1.0]]), torch.tensor([5])
    shared = torch.tensor([3, 4, 1, 2])
    drawn = negatives.add_hard_negatives(shared, NO_CHANCE, scores, targets, None, 0.5)
    assert drawn.items.tolist() == [[1, 2, 1, 2]]
    assert drawn.false.tolist() == [[False, False, True, True]]


def test_mining_asks_for_no_more_than_there_is(batch) -> None:
    scores, targets = batch
    drawn = negatives.add_hard_negatives(
        torch.tensor([4] * 20), NO_CHANCE, scores, targets, None, 1.0
    )
    assert (~drawn.false).sum(1).tolist() == [4] * 4  # all but padding and the target


def test_in_batch_hard_negatives_replace_drawn_items_at_random(batch) -> None:
    scores = torch.randn(20, 21)
    targets = torch.arange(1, 21)
    lost = torch.zeros(21)
    for _ in range(200):
        shared = negatives.draw(FixedSampler([]), "in_batch", 1, targets)
        drawn = negatives.add_hard_negatives(shared, torch.zeros(21), scores, targets, None, 0.5)
        lost += 1 - torch.bincount(drawn.items[0, 10:], minlength=21)
    # Each of 20 items is lost with a chance of a half: 100 times, standard deviation 7.
    assert 65 < lost[1:].min() and lost[1:].max() < 135


@pytest.mark.parametrize("distribution", ["uniform", "popularity", "in_batch"])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_expected_counts_make_the_drawn_items_stand_for_all(
    distribution: str, share: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    counts = torch.tensor([0, 40, 20, 10, 5, 5, 3, 2, 1, 1])
    log_q = negatives.log_probability(distribution, counts)
    scores, targets = torch.randn(1, 10, generator=generator), torch.tensor([3])

    def sample(count: int) -> "torch.Tensor":
        return torch.multinomial(log_q.exp(), count, replacement=True, generator=generator)

    class Sampler:
        def sampling(self, count: int) -> "torch.Tensor":
            return sample(count).numpy()

    estimates = []
    for _ in range(4000):
        shared = negatives.draw(Sampler(), distribution, 20, sample(20))
        log_count = negatives.log_expected_count(distribution, log_q, 20)
        drawn = negatives.add_hard_negatives(shared, log_count, scores, targets, None, share)
        terms = (scores.gather(1, drawn.items) - drawn.log_count).exp()
        estimates.append(terms.masked_fill(drawn.false, 0).sum())
    made = torch.stack(estimates)
    wrong = [n for n in range(1, 10) if n != 3]
    error = made.std() / len(made) ** 0.5
    assert abs(made.mean() - scores[0, wrong].exp().sum()) < 4 * error


def test_a_target_that_would_be_mined_is_as_certain_as_what_is() -> None:
    scores = torch.tensor([[0.0, 5.0, 4.0, 3.0, 2.0, 1.0]]).expand(2, -1)
    log_count = torch.full((6,), -1.0)
    shared = torch.tensor([3, 4])
    drawn = negatives.add_hard_negatives(shared, log_count, scores, torch.tensor([1, 5]), None, 0.5)
    assert drawn.target_log_count[0] == 0
    assert drawn.target_log_count[1] == pytest.approx(-1 + math.log(0.5))
    assert drawn.log_count[1].tolist() == pytest.approx([0, -1 + math.log(0.5)])


def test_no_negatives_means_all_items(batch) -> None:
    scores, targets = batch
    made = objective([], num_negatives=0)
    torch.testing.assert_close(
        loss(made, "retrieval", scores, targets), losses.next_item(scores, targets)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_negatives": 0, "fused_loss": "bpr"}, "num_negatives must be at least 1 with bpr"),
        ({"logq_correction": True, "retrieval_loss": "gbce"}, "is for sampled_softmax"),
    ],
)
def test_settings_that_no_loss_would_use_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        objective([], **settings)


def test_bpr_equals_the_loop_and_skips_false_negatives() -> None:
    positive, negative = torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 3.0], [1.0, 5.0]])
    false = torch.tensor([[False, False], [False, True]])
    expected = ((math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2) + math.log1p(math.exp(-1))
    assert losses.bpr(positive, negative, false).item() == pytest.approx(expected / 2)


def test_gbce_without_calibration_is_binary_cross_entropy() -> None:
    positive, negative = torch.tensor([0.5]), torch.tensor([[0.2, -1.0]])
    false = torch.zeros(1, 2, dtype=torch.bool)
    logits, labels = torch.tensor([0.5, 0.2, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    expected = functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(losses.gbce(positive, negative, false, 0.1, 0.0), expected)


def test_gbce_fully_calibrated_weighs_the_positive_by_the_sampling_rate() -> None:
    positive, negative = torch.tensor([0.5]), torch.tensor([[0.2, -1.0]])
    false = torch.zeros(1, 2, dtype=torch.bool)
    hit = -functional.logsigmoid(positive)
    rejections = -functional.logsigmoid(-negative).sum()
    expected = (0.1 * hit + rejections).squeeze() / 3
    torch.testing.assert_close(losses.gbce(positive, negative, false, 0.1, 1.0), expected)


@pytest.mark.parametrize("name", ["softmax", "sampled_softmax", "gbce", "bpr"])
def test_every_loss_rewards_a_higher_score_of_the_target(batch, name: str) -> None:
    scores, targets = batch
    better = scores.scatter_add(1, targets.unsqueeze(1), torch.full((4, 1), 3.0))
    made = objective([2, 3, 4], retrieval_loss=name)
    worse_loss = loss(made, "retrieval", scores, targets)
    assert loss(made, "retrieval", better, targets) < worse_loss
