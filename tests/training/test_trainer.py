"""UR4RecTrainer: stages in turn, frozen parts untouched, nothing handed on that is worse."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.trainer import Trainer

from tests.conftest import Toy
from ur4rec_recbole.model.stages import SCORES, read_stages

STAGES = ["pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end"]
PART = {
    "encoder": ("encoder.", "item_embedding."),
    "retriever": ("experts.", "items."),
    "fusion": ("fusion.",),
}


def state(model: Any) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Parts of which any parameter differs in any bit."""
    return {
        part
        for part, prefixes in PART.items()
        for key in before
        if key.startswith(prefixes) and not torch.equal(before[key], after[key])
    }


def fit(made: Toy, **options: Any) -> Any:
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False, **options)
    return trainer


def validate(made: Toy, trainer: Any) -> float:
    return Trainer._valid_epoch(trainer, made.loaders[1])[0]


def saved(trainer: Any) -> dict[str, Any]:
    return torch.load(trainer.saved_model_file, weights_only=False)


def test_parts_hold_every_parameter_exactly_once(full_toy: Any) -> None:
    model = full_toy(encoder_content=True, fusion="gated").model
    found = [p for modules in model.parts().values() for m in modules for p in m.parameters()]
    assert len(found) == len({id(p) for p in found})
    assert {id(p) for p in found} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("stage", "trained"),
    zip(STAGES, [{"encoder"}, {"retriever"}, set(PART), set(PART)], strict=True),
)
def test_a_stage_changes_what_it_trains_and_not_a_bit_more(
    full_toy: Any, stage: str, trained: set[str]
) -> None:
    settings = {"weight_decay": 0.1, "hidden_dropout_prob": 0.2, "epochs": 2}
    made = full_toy(stages=[stage], contrastive_weight=0.1, encoder_content=True, **settings)
    trainer = made.new_trainer()
    before = state(made.model)
    trainer._begin(trainer.stages[0])
    for epoch in range(2):
        trainer._train_epoch(made.loaders[0], epoch)
    assert changed(before, state(made.model)) == trained


def test_frozen_parts_stay_in_evaluation_mode(full_toy: Any) -> None:
    made = full_toy(stages=["pretrain_retriever"], hidden_dropout_prob=0.5)
    trainer = made.new_trainer()
    trainer._begin(trainer.stages[0])
    made.model.train()
    assert not any(m.training for m in made.model.encoder.modules())
    assert not any(m.training for m in made.model.item_embedding.modules())
    assert all(m.training for m in made.model.experts.modules())
    made.model.eval()
    assert not any(m.training for m in made.model.modules())
    rows = made.rows()
    made.model.train()
    table = made.model.item_embedding(made.model.features)
    first, second = (made.model(rows, table) for _ in range(2))
    assert torch.equal(first, second)


def test_a_part_thaws_in_the_stage_that_trains_it(full_toy: Any) -> None:
    made = full_toy()
    first, second, joint, _ = read_stages(made.config)
    made.model.enter(second)
    assert not any(p.requires_grad for p in made.model.encoder.parameters())
    made.model.enter(joint)
    assert all(p.requires_grad for p in made.model.parameters())
    assert made.model.train().encoder.training
    made.model.enter(first)
    assert not any(p.requires_grad for p in made.model.experts.parameters())


def test_each_part_learns_at_its_own_rate(full_toy: Any) -> None:
    made = full_toy(learning_rate=0.01, retriever_learning_rate=0.5, joint_encoder_rate=0.2)
    trainer = made.new_trainer()
    trainer._begin(trainer.stages[2])
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == [pytest.approx(0.002), 0.5, 0.5]
    counts = [len(group["params"]) for group in trainer.optimizer.param_groups]
    assert sum(counts) == len(list(made.model.parameters()))


def test_each_stage_starts_with_a_fresh_optimizer_from_the_best_weights_so_far(
    full_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = full_toy(epochs=3, learning_rate=0.05, stopping_step=9)
    trainer = made.new_trainer()
    kind, starts, ends = type(trainer), [], []
    begin, hand_on = kind._begin, kind._hand_on

    def spy_begin(self: Any, stage: Any) -> None:
        starts.append(state(self.model))
        begin(self, stage)
        assert not self.optimizer.state

    def spy_hand_on(self: Any, *arguments: Any) -> int:
        best = self._best_state
        kept = hand_on(self, *arguments)
        ends.append((best, state(self.model)))
        return kept

    monkeypatch.setattr(kind, "_begin", spy_begin)
    monkeypatch.setattr(kind, "_hand_on", spy_hand_on)
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert len(starts) == len(ends) == 4
    for start, (best, end) in zip(starts[1:], ends, strict=False):
        assert all(torch.equal(value, end[key]) for key, value in start.items())
        assert best
    assert all(torch.equal(v, ends[0][1][k]) for k, v in ends[0][0].items())


def test_scores_of_the_stages_never_fall(full_toy: Any) -> None:
    made = full_toy(epochs=2, learning_rate=0.02, retriever_learning_rate=0.02)
    trainer = fit(made)
    scores = [result.score for result in trainer.results]
    assert len(scores) == 4
    assert scores == sorted(scores)
    assert validate(made, trainer) == pytest.approx(scores[-1])


@pytest.mark.parametrize("stage", ["joint_finetune", "end_to_end"])
def test_a_stage_that_only_harms_hands_on_what_it_received(full_toy: Any, stage: str) -> None:
    harm = {"name": stage, "rates": {"encoder": 50.0, "retriever": 50.0, "fusion": 50.0}}
    # Trained on the validation rows' own histories long enough to be far above chance.
    made = full_toy(stages=[{"name": "pretrain_sasrec", "epochs": 6}, harm], learning_rate=0.02)
    trainer = made.new_trainer()
    kept: list[Any] = []
    begin = trainer._begin
    trainer._begin = lambda stage: (kept.append(state(made.model)), begin(stage))
    evaluate, calls = trainer.evaluate, []

    def worse_in_the_second_stage(*arguments: Any, **options: Any) -> Any:
        result = evaluate(*arguments, **options)
        calls.append(len(trainer.results))
        if len(trainer.results) == 1:
            result["ndcg@10"] = -1.0
        return result

    trainer.evaluate = worse_in_the_second_stage
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert calls.count(1) == 1
    first, second = trainer.results
    assert (second.best_epoch, second.kept_epoch) == (0, 0)
    assert second.score == first.score
    assert second.metrics == first.metrics
    received = kept[1]
    assert all(torch.equal(value, received[key]) for key, value in state(made.model).items())
    assert SCORES[int(made.model.score)] == "sequence"
    stored = saved(trainer)["state_dict"]
    assert all(torch.equal(value, received[key]) for key, value in stored.items())


def test_an_absurd_learning_rate_leaves_predictions_as_they_were(full_toy: Any) -> None:
    harm = {"name": "end_to_end", "rates": {"encoder": 1e4, "retriever": 1e4}}
    sound = {"name": "pretrain_sasrec", "epochs": 8}
    made = full_toy(stages=[sound, harm], learning_rate=0.02, valid_metric="NDCG@5")
    trainer = fit(made)
    first, second = trainer.results
    assert second.score >= first.score
    if second.best_epoch == 0:
        assert validate(made, trainer) == pytest.approx(first.score)
    scores = made.model.full_sort_predict(made.rows())
    assert torch.isfinite(scores[:, made.model.warm]).all()


def test_a_useless_retriever_is_kept_while_predictions_stay_bit_identical(full_toy: Any) -> None:
    made = full_toy(stages=STAGES[:2], epochs=2)
    trainer = made.new_trainer()
    evaluate, before = trainer.evaluate, {}

    def useless_retriever(*arguments: Any, **options: Any) -> Any:
        result = evaluate(*arguments, **options)
        if len(trainer.results) == 1:
            result["ndcg@10"] = -1.0 + 0.1 * trainer.model.stage_epoch
        return result

    begin = trainer._begin

    def spy(stage: Any) -> None:
        before.update({len(trainer.results): made.model.full_sort_predict(made.rows())})
        before["state"] = state(made.model)
        begin(stage)

    trainer._begin, trainer.evaluate = spy, useless_retriever
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert (trainer.results[1].best_epoch, trainer.results[1].kept_epoch) == (0, 2)
    after = made.model.eval().full_sort_predict(made.rows())
    assert torch.isfinite(after[:, made.model.warm]).all()
    before[1] = predictions_by_sequence(made, before["state"])
    assert torch.equal(after, before[1])
    assert changed(before["state"], state(made.model)) == {"retriever"}
    stored = saved(trainer)["state_dict"]
    assert all(torch.equal(value, stored[key]) for key, value in state(made.model).items())


def predictions_by_sequence(made: Toy, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    other = made.new_model()
    other.load_state_dict(weights)
    assert SCORES[int(other.score)] == "sequence"
    return other.full_sort_predict(made.rows())


def test_a_single_stage_never_ends_worse_than_the_weights_it_was_given(full_toy: Any) -> None:
    made = full_toy(stages=[{"name": "pretrain_sasrec", "epochs": 1}])
    trainer = made.new_trainer()
    began = validate(made, trainer)
    evaluate = trainer.evaluate

    def worse_after_training(*arguments: Any, **options: Any) -> Any:
        result = evaluate(*arguments, **options)
        if trainer.model.stage_epoch:
            result["ndcg@10"] = began - 0.5
        return result

    weights = state(made.model)
    trainer.evaluate = worse_after_training
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert not changed(weights, state(made.model))


def test_a_stage_of_no_epochs_passes_its_weights_on(full_toy: Any) -> None:
    made = full_toy(stages=[{"name": "pretrain_sasrec", "epochs": 0}, "end_to_end"])
    trainer = fit(made)
    assert [result.epochs for result in trainer.results] == [0, 1]
    assert trainer.results[0].best_epoch == 0
    assert trainer.results[0].metrics


def test_patience_ends_a_stage(full_toy: Any) -> None:
    made = full_toy(stages=[{"name": "pretrain_sasrec", "epochs": 9, "patience": 2}, STAGES[3]])
    trainer = made.new_trainer()
    evaluate = trainer.evaluate

    def ever_worse(*arguments: Any, **options: Any) -> Any:
        return evaluate(*arguments, **options) | {
            "ndcg@10": -float(trainer.model.stage_epoch or 99)
        }

    trainer.evaluate = ever_worse
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    first, last = trainer.results
    assert first.best_epoch == 1
    assert first.epochs == 4  # RecBole stops once more than `patience` epochs were no better
    assert last.epochs == 1  # the next stage begins with patience of its own


@pytest.mark.parametrize(
    ("eval_step", "validated"),
    [(0, [3, 3]), (1, [1, 2, 3, 1, 2, 3]), (2, [2, 3, 1, 3]), (3, [3, 3])],
)
def test_the_last_epoch_of_a_stage_is_validated(
    full_toy: Any, eval_step: int, validated: list[int]
) -> None:
    """RecBole counts epochs over all stages, and would not come to these."""
    made = full_toy(stages=["pretrain_sasrec", "end_to_end"], epochs=3, eval_step=eval_step)
    trainer = made.new_trainer()
    evaluate, calls = trainer.evaluate, []

    def ever_better(*arguments: Any, **options: Any) -> Any:
        calls.append(trainer.model.stage_epoch)
        better = len(trainer.results) + trainer.model.stage_epoch / 10
        return evaluate(*arguments, **options) | {"ndcg@10": better}

    trainer.evaluate = ever_better
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert calls == [0, *validated]  # and what was there before
    assert [result.best_epoch for result in trainer.results] == [3, 3]
    assert [result.score for result in trainer.results] == [0.3, 1.3]


def test_each_stage_logs_one_line_with_its_metrics(
    full_toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = full_toy(topk=[5, 10, 20])
    with caplog.at_level(logging.INFO):
        fit(made)
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("stage ")]
    assert [line.split(":")[0].removeprefix("stage ") for line in lines] == STAGES
    for line in lines:
        for key in ("hit@5", "hit@10", "hit@20", "ndcg@10", " s "):
            assert key in line
        assert "best epoch" in line or "predictions stay" in line


def test_a_stage_without_validation_says_that_its_last_weights_count(
    full_toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = full_toy(stages=["pretrain_sasrec"], epochs=2)
    with caplog.at_level(logging.INFO):
        made.new_trainer().fit(made.loaders[0], None, verbose=False)
    [line] = [r.getMessage() for r in caplog.records if r.getMessage().startswith("stage ")]
    assert "no validation" in line and line.endswith("the last of 2 epochs")


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_stage_that_overflows_without_validation_hands_on_what_it_received(
    full_toy: Any, caplog: pytest.LogCaptureFixture, average: float
) -> None:
    made = full_toy(
        stages=["pretrain_sasrec"], epochs=3, learning_rate=1e38, weight_average=average
    )
    before = state(made.model)
    trainer = made.new_trainer()
    with caplog.at_level(logging.INFO):
        trainer.fit(made.loaders[0], None, verbose=False)
    assert "not_finite" in [finding.name for finding in trainer.monitor.findings]
    for after in (state(made.model), saved(trainer)["state_dict"]):
        assert all(torch.equal(value, before[key]) for key, value in after.items())
    [line] = [r.getMessage() for r in caplog.records if r.getMessage().startswith("stage ")]
    assert line.endswith("weights stay as they were")


def test_epoch_lines_name_the_losses(full_toy: Any, caplog: pytest.LogCaptureFixture) -> None:
    made = full_toy(stages=["joint_finetune"])
    with caplog.at_level(logging.INFO):
        made.new_trainer().fit(made.loaders[0], made.loaders[1])
    (line,) = [r.getMessage() for r in caplog.records if "training" in r.getMessage()]
    for name in ("load_balance", "fused", "sequence", "retrieval"):
        assert name in line
    assert "train_loss" not in line


def test_the_checkpoint_always_holds_the_best_so_far(full_toy: Any) -> None:
    made = full_toy(epochs=2, learning_rate=0.02)
    trainer = made.new_trainer()
    best, seen = -1.0, []
    hand_on = trainer._hand_on

    def check_after(*arguments: Any) -> None:
        nonlocal best
        hand_on(*arguments)
        best = max(best, trainer._handed_on)

    save = trainer._save_checkpoint

    def check_save(*arguments: Any, **options: Any) -> None:
        save(*arguments, **options)
        other = made.new_model()
        other.load_state_dict(saved(trainer)["state_dict"])
        probe = made.new_trainer(other)
        seen.append(Trainer._valid_epoch(probe, made.loaders[1])[0])

    trainer._hand_on, trainer._save_checkpoint = check_after, check_save
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(best)
    stored = saved(trainer)
    assert stored["best_valid_score"] == pytest.approx(best)
    assert all(torch.equal(value, stored["state_dict"][key]) for key, value in
               state(made.model).items())  # fmt: skip


def test_an_interrupted_save_leaves_the_good_checkpoint(
    full_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = full_toy(stages=["pretrain_sasrec"])
    trainer = fit(made)
    file = Path(trainer.saved_model_file)
    before = file.read_bytes()

    def broken(_: Any, target: Any, **options: Any) -> None:
        target.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        trainer._save_checkpoint(1, verbose=False)
    assert file.read_bytes() == before


def test_nothing_is_saved_when_not_asked_to(full_toy: Any) -> None:
    trainer = fit(full_toy(), saved=False)
    assert not Path(trainer.saved_model_file).exists()


def test_saved_leaves_the_checkpoint_alone_in_its_folder(full_toy: Any) -> None:
    trainer = fit(full_toy())
    files = [file.name for file in Path(trainer.checkpoint_dir).iterdir()]
    assert files == [Path(trainer.saved_model_file).name]


def test_fit_without_validation_data_runs_all_stages(full_toy: Any) -> None:
    made = full_toy()
    trainer = made.new_trainer()
    before = state(made.model)
    assert trainer.fit(made.loaders[0], verbose=False) == (-1, None)
    assert [result.stage for result in trainer.results] == STAGES
    assert changed(before, state(made.model)) == set(PART)
    stored = saved(trainer)["state_dict"]
    assert all(torch.equal(value, stored[key]) for key, value in state(made.model).items())


def test_fit_returns_the_best_validation_result(full_toy: Any) -> None:
    made = full_toy()
    trainer = made.new_trainer()
    score, result = trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert score == pytest.approx(max(r.score for r in trainer.results))
    assert result["ndcg@10"] == pytest.approx(score)


def test_the_callback_sees_every_epoch_of_every_stage(full_toy: Any) -> None:
    seen: list[int] = []
    fit(full_toy(epochs=2), callback_fn=lambda epoch, _: seen.append(epoch))
    assert seen == list(range(8))


def test_a_metric_that_is_better_smaller_is_minimised(full_toy: Any) -> None:
    made = full_toy(stages=STAGES[:2], epochs=2)
    made.config["valid_metric_bigger"] = False
    trainer = fit(made)
    scores = [result.score for result in trainer.results]
    assert scores == sorted(scores, reverse=True)
    assert validate(made, trainer) == pytest.approx(scores[-1])


def test_training_twice_with_one_seed_gives_the_same_weights(full_toy: Any) -> None:
    found = []
    for _ in range(2):
        made = full_toy(hidden_dropout_prob=0.2, router_noise=0.1)
        fit(made, saved=False)
        found.append(state(made.model))
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_mixed_precision_and_gradient_clipping_train(full_toy: Any) -> None:
    made = full_toy(enable_amp=True, clip_grad_norm={"max_norm": 1.0}, exclude_history=True)
    trainer = fit(made)
    assert len(trainer.results) == 4
    assert all(torch.isfinite(value).all() for value in state(made.model).values())


def test_recboles_plain_trainer_trains_the_model_too(full_toy: Any) -> None:
    made = full_toy()
    trainer = Trainer(made.config, made.model)
    before = state(made.model)
    score, result = trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    assert changed(before, state(made.model)) == set(PART)
    assert result["ndcg@10"] == pytest.approx(score)


@pytest.mark.parametrize("stages", [["pretrain_sasrec"], STAGES])
def test_a_checkpoint_resumes(full_toy: Any, stages: list[str]) -> None:
    made = full_toy(stages=stages)
    trainer = fit(made)
    other = made.new_trainer(made.new_model(seed=3))
    other.resume_checkpoint(trainer.saved_model_file)
    assert all(
        torch.equal(value, state(made.model)[key]) for key, value in state(other.model).items()
    )


def test_an_average_goes_on_from_the_weights_of_a_checkpoint(full_toy: Any) -> None:
    made = full_toy(stages=["pretrain_sasrec"], weight_average=0.9)
    trainer = fit(made)
    other = made.new_trainer(made.new_model(seed=3))
    other.resume_checkpoint(trainer.saved_model_file)
    with other._averaged():
        resumed = state(other.model)
    assert all(torch.equal(value, resumed[key]) for key, value in state(made.model).items())


def test_a_resumed_stage_is_held_to_a_score_without_what_was_chosen_before(full_toy: Any) -> None:
    """A checkpoint's score may owe much to counts that `fit` forgets."""
    made = full_toy(stages=["pretrain_sasrec"], cooccurrence_window=3)
    trainer = fit(made)
    made.model.cooccurrences.choose(0.0, 0.8, 1.0, 0.5)
    trainer.best_valid_score, made.model.stage_epoch = 9.0, 0  # its one epoch is still to come
    trainer._save_checkpoint(0)
    other = made.new_trainer(made.new_model(seed=3))
    other.resume_checkpoint(trainer.saved_model_file)
    train, seen = other._train_epoch, []

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append((other.best_valid_score, other._received["cooccurrences.share"].item()))
        return train(*arguments, **options)

    other._train_epoch = watched
    other.fit(made.loaders[0], made.loaders[1], verbose=False)
    [(score, share)] = seen
    assert share == 0
    assert score < 1
