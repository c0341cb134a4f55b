"""Which items are no negatives: of a few what is true of all."""

import pytest
import torch

from ur4rec_recbole.model.excluded import Excluded, History, known

N = 30


def history(earlier: bool) -> History:
    """Three windows of up to 6 items, some had twice, some padding, and what came before."""
    generator = torch.Generator().manual_seed(2)
    windows = torch.randint(1, N, (3, 6), generator=generator)
    windows[0, 4] = windows[0, 1]
    windows[1, 3:] = 0
    chosen = windows > 0
    before = torch.tensor([[7, 8, 0], [0, 0, 0], [9, 0, 0]]) if earlier else None
    return History(windows, before, *chosen.nonzero(as_tuple=True))


@pytest.mark.parametrize("earlier", [False, True])
def test_a_position_knows_its_items_up_to_there_and_all_earlier_ones(earlier: bool) -> None:
    given = history(earlier)
    marked = known(given, N)
    for position, (row, place) in enumerate(zip(given.row, given.place, strict=True)):
        had = set(given.windows[row, : place + 1].tolist())
        if given.earlier is not None:
            had |= set(given.earlier[row].tolist())
        assert set(marked[position].nonzero().flatten().tolist()) - {0} == had - {0}


@pytest.mark.parametrize("earlier", [False, True])
def test_what_is_said_of_some_items_or_positions_is_said_of_all(earlier: bool) -> None:
    given = history(earlier)
    excluded = Excluded(torch.arange(N) % 7 != 2, given)
    items = torch.tensor([5, 5, 2, 29, *given.windows[0].tolist(), 8])
    everything = excluded.all
    assert torch.equal(excluded.of(items), everything[:, items])
    for start in range(len(given.row)):
        part = slice(start, start + 4)
        assert torch.equal(excluded.at(part), everything[part])


@pytest.mark.parametrize("given", [history(False), history(True), None])
def test_what_is_excluded_is_refused_in_scores(given: History | None) -> None:
    excluded = Excluded((torch.arange(N) % 7 != 2) & (torch.arange(N) > 0), given)
    positions = 12 if given is None else len(given.row)
    scores = torch.randn(positions, N)
    for start in range(0, positions, 4):
        part = slice(start, start + 4)
        found = scores[part].clone()
        excluded.refuse(found, part)
        assert torch.equal(found, scores[part].masked_fill(excluded.at(part), -torch.inf))


def test_where_items_repeat_only_those_that_training_never_had_are_excluded() -> None:
    excluded = Excluded(torch.arange(N) < 20)
    assert excluded.all.tolist() == [[False] * 20 + [True] * 10]
    assert excluded.of(torch.tensor([3, 25])).tolist() == [[False, True]]
