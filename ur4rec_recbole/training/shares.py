"""Shares: which rows of a loader each of several processes takes.

RecBole's loaders divide the batch size by the number of processes and draw with torch's
`DistributedSampler`: in another order than one process would, and with rows repeated until all
processes have as many, which count twice. With `share` the processes take turns at the rows of the
order that one process draws, so that their batches make up its batch; each row counts once.
"""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from ur4rec_recbole.core import collective
from ur4rec_recbole.core.errors import InputError


class Shares(Sampler[int]):
    """Every n-th row of an order that all n processes draw alike.

    Parameters
    ----------
    order
        Draws the rows of all.
    step
        Rows of a batch of this process, where all must have as many batches; else None.

    Attributes
    ----------
    stands_in
        Whether the last batch has no row for this process, which then takes one that is another's
        and must not be counted.
    """

    def __init__(self, order: Any, step: int | None) -> None:
        self.order = order
        n = collective.count()
        self.own = len(range(collective.rank(), len(order), n))
        longest = len(range(0, len(order), n))
        self.stands_in = step is not None and longest > self.own and self.own % step == 0

    def __iter__(self) -> Iterator[int]:
        rows = list(self.order)
        yield from rows[collective.rank() :: collective.count()]
        if self.stands_in:
            yield rows[0]

    def __len__(self) -> int:
        return self.own + self.stands_in


def share(loader: Any, trains: bool) -> Shares:
    """Let a loader of RecBole give this process its share; a second call changes nothing."""
    batches = loader.batch_sampler
    if not isinstance(batches.sampler, Shares):
        rows = range(loader.sample_size)
        order: Any = SequentialSampler(rows)
        if loader.shuffle:
            order = RandomSampler(rows, generator=loader.generator)  # as the loader of one process
        batches.sampler = Shares(order, loader.step if trains else None)
    return batches.sampler


def require_rows(loaders: Any) -> None:
    """Raise `InputError` where a split has rows, but not one for every process."""
    for name, loader in zip(("training", "validation", "test"), loaders, strict=True):
        if 0 < loader.sample_size < collective.count():
            raise InputError(
                f"nproc: {collective.count()} processes",
                f"must have a row of the {name} data each", f"{loader.sample_size} rows",
                "Lower nproc.",
            )  # fmt: skip
