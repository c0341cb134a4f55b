"""What processes share; alone, a process has all there is."""

import torch

from ur4rec_recbole.core import collective


def test_a_process_alone_is_the_first_of_one() -> None:
    assert (collective.rank(), collective.count(), collective.is_first()) == (0, 1, True)
    assert collective.agreed("mine") == "mine"
    assert collective.gathered("mine") == ["mine"]
    rows = {"a": torch.ones(2, 3)}
    assert collective.all_rows(rows) is rows
    torch.testing.assert_close(collective.summed(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2]))
    collective.leave()


def test_a_whole_has_the_gradient_of_one_part() -> None:
    own = torch.tensor([2.0, 3.0], requires_grad=True)
    whole = collective.with_value(own * 5, torch.tensor([7.0, 8.0]))
    assert whole.tolist() == [7.0, 8.0]
    whole.sum().backward()
    assert own.grad is not None and own.grad.tolist() == [5.0, 5.0]
