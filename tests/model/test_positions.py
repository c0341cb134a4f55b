"""Packed states and their places."""

import pytest
import torch

from ur4rec_recbole.model.positions import Positions

MASK = torch.tensor([[True, False, False], [True, True, False]])


def test_rows_stand_at_true_places_and_zeros_elsewhere() -> None:
    where = Positions(MASK)
    found = where.unpack(torch.tensor([[1.0], [2.0], [3.0]]))
    assert found.squeeze(-1).tolist() == [[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]]
    full = Positions(torch.ones(2, 2, dtype=torch.bool))
    found = full.unpack(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    assert found.squeeze(-1).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_each_state_knows_its_place_and_which_are_last() -> None:
    where = Positions(MASK)
    assert where.last.tolist() == [0, 2]
    assert where.row.tolist() == [0, 1, 1]
    assert where.place.tolist() == [0, 0, 1]


@pytest.mark.parametrize("mask", [MASK, torch.ones(2, 3, dtype=torch.bool)])
def test_unpacking_is_undone_by_packing(mask: torch.Tensor) -> None:
    where, rows = Positions(mask), torch.randn(int(mask.sum()), 4, 2)
    assert torch.equal(where.pack(where.unpack(rows)), rows)


def test_some_of_the_states_keep_their_places() -> None:
    some = Positions(MASK).some(torch.tensor([0, 2]))
    assert some.mask.tolist() == [[True, False, False], [False, True, False]]
    assert torch.equal(some.flat, Positions(some.mask).flat)
    assert some.unpack(torch.tensor([7.0, 9.0])).tolist() == [[7.0, 0.0, 0.0], [0.0, 9.0, 0.0]]
