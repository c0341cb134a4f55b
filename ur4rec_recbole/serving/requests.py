"""From what somebody asks, in tokens and times of any form, to histories."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.datasets.table_columns import read_times
from ur4rec_recbole.datasets.tables import from_dataframe
from ur4rec_recbole.serving.histories import History, UserHistories
from ur4rec_recbole.serving.index import Index
from ur4rec_recbole.serving.tokens import as_token, as_tokens

LARGEST = 1e12  # seconds before and after 1970, 30,000 years; milliseconds of today are more


class Later(dict):
    """Interactions that training has not seen, a table (item_id, timestamp) by user."""

    @classmethod
    def read(cls, table: Any) -> "Later":
        """Read a table of users, items and times; None is an empty one."""
        if table is None or isinstance(table, Later):
            return table or cls()
        rows = from_dataframe(table).interactions
        _require_seconds(rows.timestamp.to_numpy())
        return cls({str(user): part for user, part in rows.groupby("user_id")})


class RequestReader:
    """Reads requests by what is known of users and of their usual pace.

    Parameters
    ----------
    known
        What each known user has had.
    """

    def __init__(self, known: UserHistories) -> None:
        self._known = known
        self._gap, self._real = known.typical_gap(), known.has_real_times()
        self._users = {token: place for place, token in enumerate(known.tokens) if place}

    def history(self, index: Index, items: Any, times: Any, now: Any, user: Any) -> History:
        """Read one request; see `Recommender.recommend`."""
        tokens = as_tokens(items, "items")
        user = None if user is None else as_token(user, "user")
        if user is not None and user not in self._users:
            raise InputError(
                f"user {user!r}", "must be one of the training data", "an unknown one",
                nearest(user, list(self._users)[:10000]) or "Leave it out for a new user.",
            )  # fmt: skip
        ids, unknown = index.known(tokens)
        seconds = None
        if times is not None:
            seconds = _seconds(times)
            if len(seconds) != len(tokens):
                raise InputError(
                    "times", f"must be as many as the items, {len(tokens)}", len(seconds),
                    "Give one to each.",
                )  # fmt: skip
            seconds = seconds[[token in index.ids for token in tokens]]
        return self._timed(ids, seconds, now, self._users.get(user or "", 0), unknown)

    def _timed(
        self,
        items: np.ndarray,
        seconds: np.ndarray | None,
        now: Any,
        user: int,
        unknown: tuple[str, ...],
    ) -> History:
        """Bring a history into the order of time, and supply the times that are not told."""
        if now is not None:
            asked = float(_seconds([now])[0])
        elif self._real:
            asked = time.time()
        else:
            newest = len(items) * self._gap if seconds is None else seconds.max(initial=0)
            asked = float(newest + self._gap)
        if seconds is None:
            seconds = asked - self._gap * np.arange(len(items), 0, -1)
        order = np.argsort(seconds, kind="stable")
        return History(items[order], seconds[order], asked, user, unknown)

    def user_history(self, index: Index, token: Any, later: Any, now: Any) -> History:
        """Return what a user has had, and what a table of later interactions of theirs adds."""
        user = self._users.get(as_token(token, "user"), 0)
        items, times = self._known.user(user) if user else (np.zeros(0, int), np.zeros(0))
        unknown: tuple[str, ...] = ()
        if later is not None:
            ids = np.array([index.ids.get(each, 0) for each in later.item_id], dtype=np.int64)
            seconds = later.timestamp.to_numpy()
            unknown = tuple(later.item_id[ids == 0])
            had = set(zip(items.tolist(), times.tolist(), strict=True))
            new = np.array(
                [item > 0 and (item, when) not in had for item, when in
                 zip(ids.tolist(), seconds.tolist(), strict=True)], dtype=bool,
            )  # fmt: skip
            items, times = np.r_[items, ids[new]], np.r_[times, seconds[new]]
        return self._timed(items, times, now, user, unknown)

    def histories(
        self, index: Index, lists: Sequence[Any], times: Any, now: Any, user: Any
    ) -> list[History]:
        """Read several requests; `times` is None or has as many lists."""
        if times is None:
            times = [None] * len(lists)
        if len(times) != len(lists):
            raise InputError(
                "times", f"must be {len(lists)} lists, as the items are", len(times),
                "Give one list to each history.",
            )  # fmt: skip
        return [
            self.history(index, items, when, now, user)
            for items, when in zip(lists, times, strict=True)
        ]


def _seconds(times: Any) -> np.ndarray:
    """Read times, [T] float64: numbers are seconds; texts may be dates."""
    times = list(times)
    if all(isinstance(each, int | float | np.number) for each in times):
        seconds = np.array(times, dtype=np.float64)
    else:
        seconds, _ = read_times(pd.Series(times, name="times", dtype=object), "history")
    if not np.isfinite(seconds).all():
        raise InputError("times", "must all be told", "an empty one", "Give one to each item.")
    _require_seconds(seconds)
    return seconds


def _require_seconds(times: np.ndarray) -> None:
    """Refuse times [T] that are no moments: differences of larger ones may not be finite."""
    wrong = times[np.abs(times) > LARGEST]
    if len(wrong):
        raise InputError(
            "times", f"must be in seconds, none of them beyond {LARGEST:g}", f"{wrong[0]:g}",
            "Divide milliseconds by 1,000.",
        )  # fmt: skip
