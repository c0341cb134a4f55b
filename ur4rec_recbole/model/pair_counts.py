"""Pair counts: what stood near each item in training histories, the most frequent of it."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from ur4rec_recbole.model.item_to_item import pairs_apart

KEPT = 100  # entries of an item
FADING = 0.8  # what a place further apart counts relative to the one before
PAIRS = 20_000_000  # of interactions, counted at a time


def companions(
    users: np.ndarray, items: np.ndarray, window: int, n_items: int
) -> tuple[np.ndarray, ...]:
    """Return who stood near each item, how often after it, and how often before it: [N, M] each.

    Parameters
    ----------
    users, items
        Of the training interactions [I], which are sorted by user and time.
    window
        Places apart up to which two items are near; d places apart count 0.8^(d - 1).
    n_items
        N.
    """
    made = []
    for chosen in _blocks(items, window, n_items):
        found = _near(users, items, np.zeros_like(items), window, chosen)
        after, before = found.data.real, found.data.imag
        keys = -after - before, found.col
        made.append(_first(found.row, keys, (found.col, after, before)))
    return _tables(made, n_items)


def followers(
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    period: float,
    window: int,
    n_items: int,
) -> tuple[np.ndarray, ...]:
    """Return who stood after each item, how often, and when: [N, M] each.

    What is counted of two items within a period is one entry, and has the time of its middle; of
    entries that count the same the newest are kept. Parameters as of `companions`, and

    Parameters
    ----------
    times
        [I] seconds.
    period
        In seconds.
    """
    start = times.min()
    number = ((times - start) // period).astype(np.int64)
    made = []
    for chosen in _blocks(items, window, n_items):
        found = _near(users, items, number, window, chosen)
        follows = found.data.real > 0
        often = found.data.real[follows]
        item, within = np.divmod(found.col[follows], number.max() + 1)
        columns = item, often, start + (within + 0.5) * period
        made.append(_first(found.row[follows], (-often, -within, item), columns))
    return _tables(made, n_items)


def _blocks(items: np.ndarray, window: int, n_items: int) -> Iterator[np.ndarray]:
    """Yield which items, [N] bool, are counted at a time."""
    pairs = 2 * window * np.bincount(items, minlength=n_items)
    block = np.cumsum(pairs) // PAIRS
    for number in np.unique(block):
        yield block == number


def _near(
    users: np.ndarray, items: np.ndarray, period: np.ndarray, window: int, chosen: np.ndarray
) -> sparse.coo_array:
    """Count what stood near the chosen items [N] bool, after them + 1j before them.

    With interactions in periods [I], of T, that is [N, N T]: column j T + p is of item j where the
    later of the two interactions fell into p.
    """
    n_items, n_periods = len(chosen), int(period.max()) + 1
    rows, columns, values = [], [], []
    for apart, earlier, later in pairs_apart(users, np.arange(len(items)), window):
        for row, column, weight in ((earlier, later, 1.0), (later, earlier, 1.0j)):
            mine = (items[earlier] != items[later]) & chosen[items[row]]
            rows.append(items[row[mine]])
            columns.append(items[column[mine]] * n_periods + period[later[mine]])
            values.append(np.full(mine.sum(), weight * FADING ** (apart - 1), np.complex64))
    row, column, value = (np.concatenate(each) for each in (rows, columns, values))
    summed = sparse.coo_array((value, (row, column)), shape=(n_items, n_items * n_periods))
    return summed.tocsr().tocoo()


def _first(
    row: np.ndarray, keys: Sequence[np.ndarray], columns: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Return row, place in it and columns of the `KEPT` entries of each row with the least keys."""
    order = np.lexsort((*reversed(keys), row))
    row = row[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < KEPT
    return row[kept], place[kept], *(each[order[kept]] for each in columns)


def _tables(made: Sequence[tuple[np.ndarray, ...]], n_items: int) -> tuple[np.ndarray, ...]:
    """Return a table [N, M] of each column, of blocks of `_first`; what is missing is 0."""
    row, place, *columns = (np.concatenate(each) for each in zip(*made, strict=True))
    tables = []
    for values in columns:
        table = np.zeros((n_items, int(place.max(initial=0)) + 1), dtype=values.dtype)
        table[row, place] = values
        tables.append(table)
    return tuple(tables)
