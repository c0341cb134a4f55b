"""Schedules of the learning rates: their course over a stage, and that a stage follows its own."""

from typing import Any

import pytest
import torch
from torch import nn

from ur4rec_recbole.training import schedule


def test_rates_rise_in_equal_steps_then_stay() -> None:
    at = schedule.factor(10, 4, "constant")
    assert [at(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_cosine_falls_to_a_hundredth_at_the_end() -> None:
    at = schedule.factor(20, 0, "cosine")
    assert at(0) == 1.0
    assert at(10) == pytest.approx(0.505)
    assert at(20) == at(25) == pytest.approx(0.01)
    assert [at(step) for step in range(21)] == sorted((at(s) for s in range(21)), reverse=True)


def test_an_optimizer_goes_on_where_a_break_was() -> None:
    at = schedule.factor(8, 2, "cosine")

    def rates(begin: int) -> list[float]:
        layer = nn.Linear(1, 1)
        optimizer = torch.optim.Adam(layer.parameters(), lr=7.0)
        schedule.follow(optimizer, [0.4], at, begin)
        seen = []
        for _ in range(begin, 8):
            seen.append(optimizer.param_groups[0]["lr"])
            layer(torch.ones(1)).backward()
            optimizer.step()
        return seen

    whole = rates(0)
    assert whole == pytest.approx([0.4 * at(step) for step in range(8)])
    assert rates(3) == pytest.approx(whole[3:])


@pytest.mark.parametrize("resumed_at", [0, 2])
def test_each_stage_ends_at_a_hundredth_of_its_rate(toy: Any, resumed_at: int) -> None:
    made = toy(epochs=3, stages=["pretrain_sasrec"], rate_decay="cosine", warmup_epochs=1)
    trainer = made.new_trainer()
    seen: list[float] = []
    begin = trainer._begin

    def watched(stage: Any) -> None:
        begin(stage)
        trainer.optimizer.register_step_pre_hook(
            lambda *_: seen.append(trainer.optimizer.param_groups[0]["lr"])
        )

    trainer._begin = watched
    if resumed_at:
        trainer._begin(trainer.stages[0])
        trainer.model.stage_epoch = resumed_at
        trainer._next_epoch = resumed_at
        trainer._go_on()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    per_epoch = len(made.loaders[0])
    at = schedule.factor(3 * per_epoch, per_epoch, "cosine")
    rate = trainer.stages[0].rates["encoder"]
    steps = range(resumed_at * per_epoch, 3 * per_epoch)
    assert seen == pytest.approx([rate * at(step) for step in steps])
