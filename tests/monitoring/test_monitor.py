"""Monitor: each rule finds a training that really has its fault, and a healthy one has none."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Toy, make_table
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.model.ur4rec import UR4Rec
from ur4rec_recbole.monitoring.epoch_rules import StageHistory, overfitting
from ur4rec_recbole.monitoring.findings import Finding
from ur4rec_recbole.monitoring.monitor import Monitor
from ur4rec_recbole.monitoring.slow_steps import Usage, denormal_share, explain

N_ITEMS, LENGTH, N_USERS = 150, 12, 75
ITEMS = [f"i{n}" for n in range(N_ITEMS)]
# Every user walks around the same circle of items: the last item tells the next.
WALKS = {f"u{u}": [ITEMS[(2 * u + k) % N_ITEMS] for k in range(LENGTH)] for u in range(N_USERS)}
LEARNING = {
    "learning_rate": 0.01,
    "retriever_learning_rate": 0.01,
    "joint_encoder_rate": 0.3,
    "num_negatives": 0,
    "hidden_size": 32,
    "epochs": 5,
    "train_batch_size": 16,
    "MAX_ITEM_LIST_LENGTH": 10,
    "initializer_range": 0.05,
    "use_item_id": True,
}


@pytest.fixture
def walks(toy: Any) -> Any:
    """Return a factory of toys on the circle, with a text table that names each item."""

    def build(**settings: Any) -> Toy:
        table = make_table("item_text", ITEMS, 32, 1)
        histories = settings.pop("histories", WALKS)
        return toy(histories, {"item_text_table": table}, **(LEARNING | settings))

    return build


def train(made: Toy) -> Any:
    torch.manual_seed(3)
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False, saved=False)
    return trainer


def names(trainer: Any) -> set[str]:
    return {finding.name for finding in trainer.monitor.findings}


def evidence(trainer: Any, name: str) -> str:
    return next(f.evidence for f in trainer.monitor.findings if f.name == name)


def test_a_healthy_training_has_no_finding(walks: Any) -> None:
    trainer = train(walks(joint_encoder_rate=0.05, epochs=4))
    assert [result.epochs for result in trainer.results] == [4] * 4
    assert trainer.monitor.findings == []


def test_a_learning_rate_of_10_is_found_in_the_first_epoch(walks: Any) -> None:
    trainer = train(walks(learning_rate=10.0, stages=["pretrain_sasrec"]))
    found = [f for f in trainer.monitor.findings if f.name == "learning_rate_too_high"]
    assert [f.epoch for f in found] == [1]
    assert "encoder 10" in found[0].cause


def test_numbers_that_overflow_stop_the_stage_and_keep_the_last_good_weights(walks: Any) -> None:
    made = walks(learning_rate=1e38, stages=["pretrain_sasrec"])
    before = {key: value.clone() for key, value in made.model.state_dict().items()}
    trainer = train(made)
    assert "not_finite" in names(trainer)
    assert trainer.results[0].epochs == 1
    after = made.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items() if key != "score")


def test_a_gradient_that_overflows_changes_no_weight(
    walks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is finite, its gradient is not: sqrt has none at 0."""
    named = UR4Rec.named_losses

    def steep(self: Any, interaction: Any) -> dict[str, torch.Tensor]:
        weight = self.item_embedding.id.weight.sum()
        return {**named(self, interaction), "steep": (weight * 0).sqrt()}

    monkeypatch.setattr(UR4Rec, "named_losses", steep)
    made = walks(stages=["pretrain_sasrec"])
    trainer = train(made)
    assert "gradient" in evidence(trainer, "not_finite")
    assert all(torch.isfinite(p).all() for p in made.model.parameters())


def test_the_stage_after_a_stopped_one_begins_with_good_weights(walks: Any) -> None:
    stages = [{"name": "pretrain_sasrec", "rates": {"encoder": 1e38}}, "end_to_end"]
    trainer = train(walks(stages=stages))
    assert [result.stage for result in trainer.results] == ["pretrain_sasrec", "end_to_end"]
    assert trainer.results[1].epochs == LEARNING["epochs"]


def test_a_rate_that_teaches_nothing_is_found_after_three_epochs(walks: Any) -> None:
    trainer = train(walks(learning_rate=1e-12, stages=["pretrain_sasrec"]))
    found = {f.name: f.epoch for f in trainer.monitor.findings}
    assert found["loss_not_falling"] == found["flat_validation"] == 3


def test_a_loss_that_rises_again_is_found(walks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two good epochs the optimizer's rate becomes a thousand times as high."""
    begins = Monitor.epoch_begins
    made = walks(stages=["pretrain_sasrec"], epochs=5)
    trainer = made.new_trainer()

    def spoiling(self: Any, epoch: int) -> None:
        begins(self, epoch)
        if epoch == 2:
            for group in trainer.optimizer.param_groups:
                group["lr"] *= 1000

    monkeypatch.setattr(Monitor, "epoch_begins", spoiling)
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False, saved=False)
    assert names(trainer) >= {"loss_rising"}


def test_learning_by_heart_is_found(walks: Any) -> None:
    """Histories without any order: all that can be learned is what was seen."""
    generator = np.random.default_rng(0)
    random = {f"u{u}": [ITEMS[i] for i in generator.permutation(N_ITEMS)[:LENGTH]]
              for u in range(N_USERS)}  # fmt: skip
    trainer = train(walks(histories=random, stages=["pretrain_sasrec"], epochs=12))
    assert "overfitting" in names(trainer)


def test_a_slow_step_is_found_and_explained(walks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    named, calls = UR4Rec.named_losses, 0

    def sleepy(self: Any, interaction: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 18:
            time.sleep(1.5)
        return named(self, interaction)

    monkeypatch.setattr(UR4Rec, "named_losses", sleepy)
    trainer = train(walks(stages=["pretrain_sasrec"]))
    found = [f for f in trainer.monitor.findings if f.name == "slow_steps"]
    assert len(found) == 1
    assert "waited" in found[0].cause or "Another process" in found[0].cause


@pytest.mark.parametrize(
    ("own", "others", "faults", "word"),
    [(0.1, 0.0, 0, "waited"), (0.1, 1.5, 0, "Another process"), (0.1, 0.0, 999, "swaps"),
     (1.0, 0.0, 0, "Denormal"), (1.0, 1.0, 0, "Denormal")],
)  # fmt: skip
def test_the_cause_of_slowness_is_told_apart(
    own: float, others: float, faults: int, word: str
) -> None:
    model = torch.nn.Linear(4, 4)
    torch.nn.init.constant_(model.weight, 1e-40)
    before, now = Usage(0, 0, 0, 0), Usage(10, 10 * own, 10 * (own + others), faults)
    assert word in explain(before, now, 1.0, model)[0]
    assert denormal_share(model) == pytest.approx(16 / 20)
    assert (
        "took the processor longer"
        in explain(Usage(0, 0, 0, 0), Usage(10, 10, 10, 0), 1.0, torch.nn.Linear(4, 4))[0]
    )


def test_a_stage_below_its_milestone_is_found(walks: Any) -> None:
    stages = [{"name": "pretrain_sasrec", "epochs": 2}]
    own = {"toy": {"pretrain_sasrec": 1.0}}
    trainer = train(walks(stages=stages, milestones=own, learning_rate=1e-12))
    assert "its milestone is 1.00" in evidence(trainer, "below_milestone")
    trainer = train(walks(stages=stages, milestones={"other": {"pretrain_sasrec": 1.0}}))
    assert "below_milestone" not in names(trainer)
    trainer = train(walks(stages=["pretrain_sasrec"], epochs=1, milestones=own))
    assert "below_milestone" not in names(trainer)  # a single epoch is no measure


def circle_table(shuffled: bool) -> FeatureTable:
    """Texts by which items that are near on the circle are alike, or with ids mixed up."""
    generator = np.random.default_rng(1)
    order = generator.permutation(N_ITEMS)
    tokens = generator.permutation(order) if shuffled else order
    angle = 2 * np.pi * np.outer(np.arange(N_ITEMS), np.arange(1, 5)) / N_ITEMS
    vectors = np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    provenance = make_table("item_text", ITEMS, 8).provenance
    return FeatureTable(np.array([ITEMS[n] for n in tokens]), vectors[order], provenance)


def test_shuffled_ids_are_found_and_named(toy: Any) -> None:
    """The result is held to be too low; the table's rows are in another order than its ids."""
    stage = {"name": "pretrain_sasrec", "epochs": 1}
    settings = LEARNING | {"stages": [stage], "lowest_hit": 1.0, "learning_rate": 0.001}
    for shuffled, words in ((True, "ids NOT right"), (False, "ids right")):
        trainer = train(toy(WALKS, {"item_text_table": circle_table(shuffled)}, **settings))
        assert words in evidence(trainer, "low_hit_rate")


def test_without_lowest_hit_a_result_is_judged_by_what_popularity_reaches(walks: Any) -> None:
    """Half of the users begin with the item that the others choose at last, for validation."""
    popular = {
        user: ["i0", *items[1:]] if n % 2 else [*items[:-2], "i0", items[-1]]
        for n, (user, items) in enumerate(WALKS.items())
    }
    untrained = {"stages": ["pretrain_sasrec"], "epochs": 2, "learning_rate": 1e-12}
    trainer = train(walks(histories=popular, **untrained))
    assert "below popularity's 0.5" in evidence(trainer, "low_hit_rate")
    assert "low_hit_rate" not in names(train(walks(**untrained)))  # all items are as popular
    once = train(walks(histories=popular, **untrained | {"epochs": 1}))
    assert "low_hit_rate" not in names(once)


def test_loss_parts_stay_on_the_device_unless_an_observer_reads_them(walks: Any) -> None:
    class Unread:
        def item(self) -> float:
            raise AssertionError("read")

    monitor = walks().new_trainer().monitor
    monitor.step(1.0, {"sequence": Unread()})
    with pytest.raises(AssertionError, match="read"):
        monitor.observers[0].step = lambda losses, seconds: losses()
        monitor.step(1.0, {"sequence": Unread()})


def test_flat_validation_names_what_was_measured(walks: Any) -> None:
    settings = {"metrics": ["Recall"], "topk": [20], "valid_metric": "Recall@20"}
    trainer = train(walks(learning_rate=1e-12, stages=["pretrain_sasrec"], **settings))
    assert evidence(trainer, "flat_validation").startswith("Recall@20 of the first 3 epochs")


RETRIEVER = {"stages": ["pretrain_sasrec", "pretrain_retriever"], "epochs": 2}


def test_a_frozen_expert_is_found(walks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = UR4Rec.enter

    def freezing(self: Any, stage: Any) -> None:
        enter(self, stage)
        self.experts.modalities["text"].experts[1].requires_grad_(False)

    monkeypatch.setattr(UR4Rec, "enter", freezing)
    trainer = train(walks(**RETRIEVER))
    found = [f.evidence for f in trainer.monitor.findings if f.name == "dead_expert"]
    assert len(found) == 1
    assert found[0].startswith("sub-expert 1 of text")


def test_a_collapsed_router_is_found(walks: Any) -> None:
    made = walks(**RETRIEVER)
    gate = made.model.experts.modalities["text"].router.gate
    torch.nn.init.constant_(gate.bias, 0.0)
    with torch.no_grad():
        gate.bias[2] = 50.0
    trainer = train(made)
    assert names(trainer) >= {"dominating_expert", "dead_expert"}
    assert evidence(trainer, "dominating_expert").startswith("sub-expert 2 of text has 100.0%")


def test_routes_are_not_judged_after_a_single_epoch(walks: Any) -> None:
    made = walks(stages=["pretrain_sasrec", "pretrain_retriever"], epochs=1)
    with torch.no_grad():
        made.model.experts.modalities["text"].router.gate.bias[2] = 50.0
    assert not names(train(made)) & {"dominating_expert", "dead_expert", "modality_unused"}


def test_a_damaged_item_file_costs_the_routes_by_genre_alone(walks: Any) -> None:
    made = walks(**RETRIEVER)
    Path(made.config["data_path"], "toy.item").write_text("no_id:token\nx\n")
    trainer = train(made)
    assert [result.epochs for result in trainer.results] == [2, 2]
    assert "routes by genre: InputError" in evidence(trainer, "left_out")


def test_a_modality_that_is_not_heard_is_found(walks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are shut out of the experts' mixture and of the item tower."""
    made = walks(**RETRIEVER)
    for parameter in made.model.items.content.parameters():
        torch.nn.init.zeros_(parameter)
        parameter.register_hook(torch.zeros_like)
    for expert in made.model.experts.modalities["text"].parameters():
        expert.register_hook(torch.zeros_like)
    torch.nn.init.zeros_(made.model.experts.modalities["text"].input.weight)
    trainer = train(made)
    assert evidence(trainer, "modality_unused").endswith("ranks move by 0.0%")


def test_a_fused_score_worse_than_a_part_is_found(walks: Any) -> None:
    """The fusion trusts an untrained retrieval score and may not learn otherwise."""
    joint = {"name": "joint_finetune", "rates": {"fusion": 1e-12}, "epochs": 1}
    made = walks(stages=["pretrain_sasrec", joint], fusion_weights=[0.001, 0.999])
    trainer = train(made)
    assert "of the sequence score alone" in evidence(trainer, "fusion_worse_than_part")


def test_a_finding_is_reported_once_a_stage(walks: Any, tmp_path: Path) -> None:
    monitor = train(walks(stages=[{"name": "pretrain_sasrec", "epochs": 1}])).monitor
    before = len(monitor.findings)
    for _ in range(2):
        monitor.add(Finding("slow_steps", "a", "b", "c"))
    assert len(monitor.findings) == before + 1


def test_what_its_first_steps_threw_off_is_told_from_what_learned_by_heart() -> None:
    def advice(scores: list[float], fresh: bool) -> str:
        rows = [
            {"stage_epoch": epoch, "loss": 9.0 - 0.3 * epoch, "valid_score": score}
            for epoch, score in enumerate(scores, 1)
        ]
        found = overfitting(StageHistory("a stage", {"encoder": 0.002}, fresh, rows=rows))
        return found.advice if found else ""

    fallen = [0.036, 0.019, 0.020, 0.014, 0.013, 0.012]
    assert "warmup_epochs" in advice(fallen, fresh=True)
    assert "dropout" in advice(fallen, fresh=False)
    assert "dropout" in advice([0.030, *fallen], fresh=True)
