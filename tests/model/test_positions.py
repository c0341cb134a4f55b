"""Packed states and their places."""

import pytest
import torch

from ur4rec_recbole.model.positions import Positions, by_length

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


def test_rows_are_ordered_into_groups_of_less_than_twofold_length() -> None:
    lengths = torch.tensor([1, 40, 2, 3, 21, 5, 20, 1])
    found = by_length(lengths)
    assert found
    order, sizes = found
    assert [each.tolist() for each in lengths[order].split(sizes)] == [
        [40, 21], [20], [3, 5], [2], [1, 1],
    ]  # fmt: skip


@pytest.mark.parametrize("lengths", [[9], [9, 9, 5], [50, 40, 30, 3]])
def test_rows_of_like_lengths_stay_as_they_are(lengths: list[int]) -> None:
    assert by_length(torch.tensor(lengths)) is None


def test_groups_have_the_states_of_their_rows() -> None:
    lengths = torch.tensor([4, 3, 1, 1, 1])
    mask = torch.arange(4) < lengths.unsqueeze(1)
    where = Positions(mask, [2, 3])
    rows = torch.arange(10).unsqueeze(1)
    assert [group.where.unpack(rows[group.states]).tolist() for group in where.groups] == [
        [[[0], [1], [2], [3]], [[4], [5], [6], [0]]],
        [[[7]], [[8]], [[9]]],
    ]
    assert [group.rows for group in where.groups] == [slice(0, 2), slice(2, 5)]
