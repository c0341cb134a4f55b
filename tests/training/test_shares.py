"""Shares: the batches of several processes make up those of one."""

from typing import Any

import pytest
from torch.utils.data import BatchSampler, SequentialSampler

from ur4rec_recbole import InputError
from ur4rec_recbole.core import collective
from ur4rec_recbole.training.shares import Shares, require_rows, share

STEP = 2


def of_all(monkeypatch: pytest.MonkeyPatch, n: int, count: int, step: int | None) -> list[Shares]:
    made = []
    monkeypatch.setattr(collective, "count", lambda: count)
    for rank in range(count):
        monkeypatch.setattr(collective, "rank", lambda rank=rank: rank)
        sampler = Shares(SequentialSampler(range(n)), step)
        sampler.rows = list(sampler)  # while this is its process
        made.append(sampler)
    return made


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("n", range(6, 20))
def test_the_batches_of_all_processes_make_up_those_of_one(
    n: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samplers = of_all(monkeypatch, n, count, STEP)
    assert [len(each) for each in samplers] == [len(each.rows) for each in samplers]
    batches = [list(BatchSampler(each.rows, STEP, drop_last=False)) for each in samplers]
    assert len({len(each) for each in batches}) == 1  # none waits for another
    whole = list(BatchSampler(range(n), STEP * count, drop_last=False))
    for step, expected in enumerate(whole):
        last = step == len(whole) - 1
        counted = [
            row
            for sampler, each in zip(samplers, batches, strict=True)
            if not (last and sampler.stands_in)
            for row in each[step]
        ]
        assert sorted(counted) == expected


@pytest.mark.parametrize("n", [2, 7, 8])
def test_each_row_is_evaluated_once(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samplers = of_all(monkeypatch, n, 2, None)
    assert sorted(row for each in samplers for row in each.rows) == list(range(n))
    assert not any(each.stands_in for each in samplers)


def test_the_order_is_the_one_that_one_process_draws(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = toy().loaders[0], toy().loaders[0]
    expected = [row for batch in alone for row in batch["user_id"].tolist()]
    share(together, trains=True)
    share(together, trains=True)  # a second call changes nothing
    assert [row for batch in together for row in batch["user_id"].tolist()] == expected
    again = [row for batch in together for row in batch["user_id"].tolist()]
    assert again != expected and sorted(again) == sorted(expected)


def test_more_processes_than_rows_are_refused(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders = toy().loaders
    require_rows(loaders)
    monkeypatch.setattr(collective, "count", lambda: 1000)
    with pytest.raises(InputError, match="1000 processes.*training data.*Lower nproc"):
        require_rows(loaders)
