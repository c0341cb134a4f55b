"""WeightAverage: what it averages, and that validation, checkpoint and resumption use it."""

from typing import Any

import pytest
import torch
from torch import nn

from ur4rec_recbole.training.averaging import WeightAverage


def test_the_average_follows_its_recursion() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.5)
    expected = float(model.weight)
    for step in range(1, 6):
        model.weight.data.fill_(float(step))
        average.update()
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * step
    with average.in_use():
        assert float(model.weight) == pytest.approx(expected)
    assert float(model.weight) == 5.0


def test_frozen_weights_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert len(WeightAverage(model, 0.9).average) == 1


def test_what_is_handed_on_is_the_average(toy: Any) -> None:
    made = toy(weight_average=0.5, epochs=3, stages=["pretrain_sasrec"], learning_rate=0.05)
    trainer = made.new_trainer()
    steps: list[torch.Tensor] = []
    weight = trainer.model.encoder.position_embedding.weight
    begin = trainer._begin

    def watched(stage: Any) -> None:
        begin(stage)
        trainer.optimizer.register_step_post_hook(lambda *_: steps.append(weight.detach().clone()))

    trainer._begin = watched
    score, _ = trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    best = trainer.results[-1].best_epoch
    assert all(not torch.equal(weight, each) for each in steps) or best == 0
    assert trainer._valid_epoch(made.loaders[1])[0] == pytest.approx(score)


def test_a_training_without_validation_ends_with_the_average(toy: Any) -> None:
    made = toy(weight_average=0.9, epochs=2, stages=["pretrain_sasrec"], learning_rate=0.05)
    trainer = made.new_trainer()
    last: dict[str, torch.Tensor] = {}
    weight = trainer.model.encoder.position_embedding.weight
    end = trainer._end

    def watched(stage: Any) -> None:
        last["raw"] = weight.detach().clone()
        last["average"] = next(
            average
            for own, average in zip(trainer._average.own, trainer._average.average, strict=True)
            if own is weight
        ).clone()
        end(stage)

    trainer._end = watched
    trainer.fit(made.loaders[0], None, verbose=False, saved=False)
    assert torch.equal(weight, last["average"]) and not torch.equal(weight, last["raw"])


def test_a_stage_validated_at_its_end_alone_ends_with_the_average(toy: Any) -> None:
    made = toy(weight_average=0.9, epochs=2, stages=["pretrain_sasrec"], eval_step=0)
    trainer = made.new_trainer()
    kept: list[WeightAverage] = []
    begin, evaluate = trainer._begin, trainer.evaluate

    def watched(stage: Any) -> None:
        begin(stage)
        kept.append(trainer._average)

    def ever_better(*arguments: Any, **options: Any) -> Any:
        return evaluate(*arguments, **options) | {"ndcg@10": float(trainer.model.stage_epoch)}

    trainer._begin, trainer.evaluate = watched, ever_better
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False, saved=False)
    [average] = kept
    assert average.steps > 1
    for own, expected in zip(average.own, average.average, strict=True):
        assert torch.equal(own, expected)
