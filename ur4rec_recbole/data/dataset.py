"""UR4RecDataset: RecBole's rows for validation and test, whole windows for training.

RecBole makes one row of length L out of every prefix of every user and trains its last position
only. Here a row is three integers pointing into the sorted interactions; its history is gathered
when a batch is made, so that nothing of shape [rows, L] is ever held. Validation and test batches
equal RecBole's; for training only every L-th row of a user is kept, counted from the end, and the
model takes its loss at all positions: each interaction is still predicted once an epoch. With
`shuffle_gap` a training window shows the items of a moment in an order drawn anew, with
`order_noise` those of nearby places.

A batch has what RecBole's has, and exact times: RecBole keeps times as shares of their span, or as
float32, which rounds Unix seconds to multiples of 64 and more.
"""

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from scipy import sparse

from ur4rec_recbole.core.memory import SCORES_HELD
from ur4rec_recbole.data import moments, presplit
from ur4rec_recbole.data.rows import Rows, grouped, hold_out_last, sorted_spans

HISTORY_START = "history_start"  # row of the user's first interaction
HISTORY_END = "history_end"  # row of the target: the history is all rows before it
SECONDS = "exact_seconds"  # float64 times as the files have them; SECONDS + LIST_SUFFIX of windows
SETTLED = "settled"  # + LIST_SUFFIX: the user's interactions before all that a window shows later
LATER = "later_targets"  # how many targets the user has after a training window's last one
EARLIER = "earlier_items"  # what a window no longer shows, zero-padded; for `exclude_history`


def sort_exactly(dataset: Dataset) -> Dataset:
    """Sort a RecBole data set by (user, time, file order) while its times are still exact.

    To be called between `create_dataset` and `data_preparation`. RecBole turns timestamps into
    float32, which rounds Unix seconds to multiples of 64, and then sorts (its issues #1653 and
    #2204); its sorts are stable, so an exact order given beforehand survives them. Internal ids
    stay the same, since they are assigned earlier.
    """
    frame = dataset.inter_feat
    split = dataset.benchmark_filename_list is not None  # the order tells a row's file
    if isinstance(frame, pd.DataFrame) and dataset.time_field in frame and not split:
        keys = [dataset.uid_field, dataset.time_field]
        dataset.inter_feat = frame.sort_values(keys, kind="stable", ignore_index=True)
    return dataset


class UR4RecDataset(presplit.PresplitDataset):
    """Sequential data set whose rows are pointers into the sorted interactions.

    Attributes
    ----------
    interactions
        All I interactions, sorted by user and time (fields [I]).
    inter_feat
        One row a target: its own fields, the history length (at most L), `history_start` and
        `history_end`.
    predicts_all_positions
        True for the training part: a row of length n stands for n targets.
    training_counts
        [N] training interactions by item, known to every part after `build`.
    """

    inter_feat: Any  # a DataFrame until `build`, then an Interaction
    interactions: Interaction
    predicts_all_positions = False
    training_counts: np.ndarray

    def _normalize(self) -> None:
        """Keep the exact times beside the ones that RecBole normalises."""
        frame, suffix = self.inter_feat, self.config["LIST_SUFFIX"]
        exact = {SECONDS + end: frame[self.time_field + end] for end in ("", suffix)
                 if self.time_field + end in frame}  # fmt: skip
        super()._normalize()
        for field, values in exact.items():
            self.inter_feat[field] = values
            kind = FeatureType.FLOAT_SEQ if values.dtype == object else FeatureType.FLOAT
            self.set_field_property(field, kind, FeatureSource.INTERACTION, 1)

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        made = Rows(super()._dataframe_to_interaction(data).interaction)
        if SECONDS in data:
            made.update(
                Interaction({SECONDS: torch.from_numpy(data[SECONDS].to_numpy(np.float64))})
            )
        return made

    def _change_feat_format(self) -> None:
        if self.benchmark_filename_list is None:
            sort_exactly(self)
            super()._change_feat_format()
            return
        found = presplit.chains(self)
        self.inter_feat = self.inter_feat[found.unlisted]
        super()._change_feat_format()
        self.interactions = self._dataframe_to_interaction(found.interactions)
        self._point(found.start, found.end, found.length)

    def data_augmentation(self) -> None:
        """Make a pointer row for every interaction but each user's first."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)  # stable: changes nothing
        self.interactions = self.inter_feat
        users = self.interactions[self.uid_field].numpy()
        row = np.arange(len(users))
        first = np.r_[True, users[1:] != users[:-1]]
        start = np.maximum.accumulate(np.where(first, row, 0))
        targets = row[~first]
        self.inter_feat = self.interactions[torch.from_numpy(targets)]
        self._point(start[targets], targets, targets - start[targets])

    def _point(self, start: np.ndarray, end: np.ndarray, known: np.ndarray) -> None:
        """Let rows [R] show the last of `known` interactions before their targets at `end`."""
        length = np.minimum(known, self.max_item_list_len)
        self._most_earlier = int((end - start - length).max(initial=0))
        self._pointers = HISTORY_START, HISTORY_END, self.item_list_length_field
        values = map(torch.from_numpy, (start, end, length))
        self.inter_feat.update(Interaction(dict(zip(self._pointers, values, strict=True))))

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Return the rows at `index` with their histories, as RecBole would have stored them."""
        rows = self.inter_feat[index]
        if HISTORY_END in rows.interaction:
            length = rows[self.item_list_length_field].unsqueeze(-1)  # [B, 1]
            end = rows[HISTORY_END].unsqueeze(-1)
            window = end - length + torch.arange(self.max_item_list_len + 1)  # history and target
            shown = window
            if self.predicts_all_positions and self._reorders:
                shown = self._reordered(window, end)
                rows.update(self._targets(shown.gather(-1, length).squeeze(-1)))
                settled = moments.first_to_come(shown) - rows[HISTORY_START].unsqueeze(-1)
                rows.update(Interaction({SETTLED + self.config["LIST_SUFFIX"]: settled}))
            rows.update(self._histories(window, shown, length))
            if self._is_asked_for_earlier:
                rows.update(Interaction({EARLIER: self._earlier(rows)}))
        return self.join(rows) if join else rows

    @property
    def _is_asked_for_earlier(self) -> bool:
        """Tell whether the model, or a member of an ensemble, excludes what the user has had."""
        configs = [self.config, *(self.config["member_configs"] or [])]
        return any(each["exclude_history"] for each in configs)

    @property
    def _reorders(self) -> bool:
        return self.config["shuffle_gap"] is not None or bool(self.config["order_noise"])

    def _reordered(self, window: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Reorder windows [B, L + 1] of interactions up to `end` [B, 1]."""
        if self.config["shuffle_gap"] is not None:
            times = self.interactions[SECONDS][window.clamp(max=end)]
            times = times.masked_fill(window > end, torch.inf)
            gap = moments.in_seconds(self.config["shuffle_gap"], "shuffle_gap")
            window = window.gather(-1, moments.shuffled_moments(times, gap))
        if self.config["order_noise"]:
            order = moments.disturbed_order(window <= end, self.config["order_noise"])
            window = window.gather(-1, order)
        return window

    def _targets(self, place: torch.Tensor) -> Interaction:
        """Read the fields of the interactions at `place` [B], except their times, which stay."""
        fields = [each for each in self.interactions if each not in (self.time_field, SECONDS)]
        return Interaction({field: self.interactions[field][place] for field in fields})

    def _histories(
        self, window: torch.Tensor, shown: torch.Tensor, length: torch.Tensor
    ) -> Interaction:
        """Gather [B, L] lists, zero-padded on the right, of what a window shows before its target.

        Times stay in place: a new order changes which item comes when, not the times.
        """
        inside = torch.arange(self.max_item_list_len) < length  # [B, L]
        when, what = (torch.where(inside, each[..., :-1], 0) for each in (window, shown))
        lists = {}
        for field in self.interactions:
            if field == self.uid_field:
                continue
            source = when if field in (self.time_field, SECONDS) else what
            values = self.interactions[field][source]  # [B, L, ...]
            mask = inside.view(*inside.shape, *[1] * (values.ndim - 2))
            lists[getattr(self, f"{field}_list_field")] = values.masked_fill(~mask, 0)
        return Interaction(lists)

    def _earlier(self, rows: Interaction) -> torch.Tensor:
        """Gather the items [B, E] before each window, zero-padded to the longest row's number E."""
        start = rows[HISTORY_START].unsqueeze(-1)
        count = (
            rows[HISTORY_END].unsqueeze(-1)
            - start
            - rows[self.item_list_length_field].unsqueeze(-1)
        )
        place = torch.arange(self._most_earlier)
        items = self.interactions[self.iid_field][
            (start + place).clamp(max=len(self.interactions) - 1)
        ]
        return items.masked_fill(place >= count, 0)

    def build(self) -> list["UR4RecDataset"]:
        """Split as RecBole does, then keep every L-th training row of a user."""
        train, *others = super().build()
        train.inter_feat = train.inter_feat[torch.from_numpy(train._window_rows())]
        _, last, user = train._last_targets()
        later = torch.from_numpy(last[user]) - train.inter_feat[HISTORY_END]
        train.inter_feat.update(Interaction({LATER: later}))
        train.predicts_all_positions = True
        items = training_interactions(train)[self.iid_field].numpy()
        for part in (train, *others):
            part.training_counts = np.bincount(items, minlength=self.item_num)
        # RecBole holds the scores of all items for as many rows as this says.
        most = max(1, SCORES_HELD // self.item_num)
        self.config["eval_batch_size"] = min(self.config["eval_batch_size"], most)
        return [train, *others]

    def _grouped_index(self, group_by_list: Any) -> Any:
        return grouped(group_by_list)

    def _split_index_by_leave_one_out(self, grouped_index: Any, leave_one_num: int) -> Any:
        return hold_out_last(grouped_index, leave_one_num)

    def _window_rows(self) -> np.ndarray:
        """Choose the rows whose windows of length L tile each user's targets from the end."""
        if self.benchmark_filename_list is not None:
            return presplit.tiling(*(self.inter_feat[name].numpy() for name in self._pointers))
        users = self.inter_feat[self.uid_field].numpy()
        ends = self.inter_feat[HISTORY_END].numpy()
        order = np.lexsort((-ends, users))
        row = np.arange(len(order))
        first = np.ones(len(order), dtype=bool)
        first[1:] = users[order][1:] != users[order][:-1]
        from_end = row - np.maximum.accumulate(np.where(first, row, 0))
        return np.sort(order[from_end % self.max_item_list_len == 0])

    def target_rows(self) -> np.ndarray:
        """Return the indices into `interactions` that this part predicts, ascending."""
        ends = self.inter_feat[HISTORY_END].numpy()
        if not self.predicts_all_positions:
            return np.sort(ends)
        length = self.inter_feat[self.item_list_length_field].numpy()
        return sorted_spans(ends - length + 1, length)

    def seen_rows(self) -> np.ndarray:
        """Return the indices into `interactions` up to each user's last target, ascending.

        For the training part these are the training interactions: all that may be learned from.
        """
        first, last, _ = self._last_targets()
        return sorted_spans(first, last - first + 1)

    def _last_targets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each user's first interaction and last target [U], and each row's user [R]."""
        starts = self.inter_feat[HISTORY_START].numpy()
        first, user = np.unique(starts, return_inverse=True)
        last = np.zeros(len(first), dtype=np.int64)
        np.maximum.at(last, user, self.inter_feat[HISTORY_END].numpy())
        return first, last, user

    def counter(self, field: str) -> Counter:
        """Count `field` over the predicted interactions, as RecBole's one row a target would."""
        if not self.predicts_all_positions:
            return super().counter(field)
        return Counter(self.interactions[field][torch.from_numpy(self.target_rows())].numpy())

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> sparse.spmatrix:
        """Return the users x items matrix of this part, as RecBole's one row a target would."""
        starts = self.inter_feat[HISTORY_START].numpy()
        length = self.inter_feat[self.item_list_length_field].numpy()
        reached = length if self.predicts_all_positions else np.ones_like(length)
        opens = self.inter_feat[HISTORY_END].numpy() - reached == starts
        rows = np.union1d(self.target_rows(), starts[opens])
        chosen = self.interactions[torch.from_numpy(rows)]
        return self._create_sparse_matrix(chosen, self.uid_field, self.iid_field, form, value_field)


def training_interactions(train: Dataset) -> Interaction:
    """Return all that may be learned from, each user's first interaction included.

    For a data set of another class these are its rows.
    """
    if not isinstance(train, UR4RecDataset):
        return train.inter_feat
    return train.interactions[torch.from_numpy(train.seen_rows())]


def training_fingerprint(train: UR4RecDataset) -> str:
    """Return the SHA-256 of the training interactions as tokens, users in token order.

    Two data sets share it exactly when they agree on what may be learned from, whatever RecBole's
    internal ids are. User-profile tables carry it.
    """
    rows = training_interactions(train)
    users = train.id2token(train.uid_field, rows[train.uid_field].numpy())
    items = train.id2token(train.iid_field, rows[train.iid_field].numpy())
    order = np.argsort(users, kind="stable")
    digest = hashlib.sha256()
    for user, item in zip(users[order], items[order], strict=True):
        digest.update(f"{user}\t{item}\n".encode())
    return digest.hexdigest()
