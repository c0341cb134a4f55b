"""Rows are taken and split as RecBole takes and splits them."""

import numpy as np
import pytest
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from ur4rec_recbole.data.rows import Rows, grouped, hold_out_last

FIELDS = {"a": torch.arange(5), "b": torch.rand(5, 2)}


@pytest.mark.parametrize(
    "index",
    [[3, 1], [], np.array([4, 0]), torch.tensor([2, 2]), slice(1, 3), 2, torch.tensor(3),
     np.array([True, False, True, False, False])],
    ids=repr,
)  # fmt: skip
def test_rows_are_those_that_recbole_takes(index: object) -> None:
    ours, theirs = Rows(FIELDS)[index], Interaction(FIELDS)[index]
    assert list(ours.interaction) == list(theirs.interaction)
    for name in FIELDS:
        assert torch.equal(ours[name], theirs[name])
    assert len(ours) == len(theirs)


def test_a_field_is_had_by_its_name() -> None:
    assert Rows(FIELDS)["a"] is FIELDS["a"]


@pytest.mark.parametrize("count", [1, 2])
def test_the_last_rows_of_a_user_are_held_out_as_recbole_does(count: int) -> None:
    users = np.random.default_rng(0).integers(1, 9, size=30)
    users[:3] = 20, 21, 21  # users of one row and of two
    theirs = Dataset._grouped_index(None, users)
    ours = grouped(users)
    assert [rows.tolist() for rows in ours] == list(theirs)
    expected = Dataset._split_index_by_leave_one_out(None, theirs, count)
    assert [rows.tolist() for rows in hold_out_last(ours, count)] == expected


def test_a_batch_goes_to_a_card_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No card is at hand: what would be asked of torch is recorded."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 0)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *given, **more: asked.append((given, more)) or self
    )
    moved = Rows({"a": torch.arange(3)}).to("cuda:0")
    assert asked == [(("cuda:0",), {"non_blocking": True})]
    assert moved["a"].tolist() == [0, 1, 2]
