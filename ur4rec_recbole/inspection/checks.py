"""Whether a feature table is complete, has the right ids, and is useful: behind `ur4rec inspect`.

The test of both questions: the nearest neighbours of an item should share its genres (or, in a data
set without genres, its users; users should share items) more than shuffled rows do, and more than
the same table with its rows shifted by a few places does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.data.features import FeatureTable, token_rows
from ur4rec_recbole.data.items import Item
from ur4rec_recbole.data.profiles import profile_index
from ur4rec_recbole.extract.vectors_file import of_archive
from ur4rec_recbole.inspection import measures
from ur4rec_recbole.inspection.verdict import judge

MOST_ROWS = 4000  # rows that enter the measures that grow with the square of their number


@dataclass(frozen=True)
class Subject:
    """A table together with its data set.

    Parameters
    ----------
    table
        Item table, or a profile table cut down to each user's last snapshot.
    rows
        [R] internal id of every row, 0 for a token outside the data set.
    dataset, train
        The data set and its training part.
    items
        Titles and genres by raw id.
    """

    table: FeatureTable
    rows: np.ndarray
    dataset: UR4RecDataset
    train: UR4RecDataset
    items: dict[str, Item]

    @property
    def of_users(self) -> bool:
        """Whether the rows are users."""
        return self.table.lengths is not None

    def title(self, row: int) -> str:
        """Name a row: title, or user with the profile's length."""
        token = str(self.table.tokens[row])
        if self.table.lengths is not None:
            return f"user {token} after {self.table.lengths[row]}"
        label = self.items.get(token, Item()).label
        return f"{label} [{token}]" if label else token


def load_any(path: str) -> FeatureTable:
    """Load a feature table, or an .npz of `token` and `vector` that other tools wrote."""
    try:
        return FeatureTable.load(path)
    except InputError as refusal:
        try:
            tokens, vectors = of_archive(path)
        except InputError:
            raise refusal from None
        blank = {"encoder": "unknown", "encoder_version": "unknown", "source_sha256": "unknown"}
        return FeatureTable(
            tokens, vectors, {"kind": "item_image", "split": "none", **blank}, name=path
        )


def subject_of(table: FeatureTable, dataset: UR4RecDataset, items: dict[str, Item]) -> Subject:
    """Pair a table with its data set; a profile table of another split is refused."""
    train = dataset.build()[0]
    if table.lengths is None:
        rows = token_rows(table, dataset.field2id_token[dataset.iid_field], allow_unknown=True)
        return Subject(table, rows, dataset, train, items)
    profile_index(table, train, allow_unknown=True)
    order = np.lexsort((table.lengths, table.tokens))
    last = np.r_[table.tokens[order][1:] != table.tokens[order][:-1], True]
    keep = np.sort(order[last])
    table = FeatureTable(
        table.tokens[keep], table.vectors[keep], table.provenance, table.lengths[keep], table.name
    )
    rows = token_rows(table, dataset.field2id_token[dataset.uid_field], allow_unknown=True)
    return Subject(table, rows, dataset, train, items)


def inspect(subject: Subject, k: int) -> dict[str, Any]:
    """Measure a table. Returns numbers by name, `ids_right` and `useful` among them."""
    vectors = subject.table.vectors
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    groups = measures.duplicates(vectors)
    sample = _sample(subject)
    if len(sample) < 3:
        raise InputError(
            f"{subject.table.name}: rows", "must be at least 3 in the data set", len(sample),
            "Check that the table belongs to this data set.",
        )  # fmt: skip
    basis, likeness = likeness_of(subject, sample)
    nearest = measures.neighbours(vectors[sample], k)
    found = measures.agreement(nearest, likeness)
    shared = measures.agreement(nearest, shared_history(subject, sample))
    isotropy = measures.spread(vectors[sample])
    numbers: dict[str, Any] = {
        **coverage(subject),
        "rows": len(vectors),
        "width": subject.table.width,
        "unknown_tokens": int((subject.rows == 0).sum()),
        "norm_least": float(norms.min()),
        "norm_median": float(np.median(norms)),
        "norm_most": float(norms.max()),
        "duplicate_rows": int(sum(len(group) for group in groups)),
        "duplicate_examples": [
            [subject.title(int(row)) for row in group[:4]] for group in groups[:3]
        ],
        **isotropy._asdict(),
        "basis": basis,
        "agreement": found.own,
        "agreement_shuffled": found.shuffled,
        "agreement_shifted": {str(lag): value for lag, value in found.lags.items()},
        "z": found.z,
        "p_value": found.p_value,
        "lead": found.lead,
        "best_lag": found.best_lag,
        "shared_history": shared.own,
        "shared_history_shuffled": shared.shuffled,
        "shared_history_z": shared.z,
    }
    return {**numbers, **judge(numbers)}


def coverage(subject: Subject) -> dict[str, float]:
    """Return the shares of ids, and of all interactions, that have a row."""
    field, total = _ids(subject)
    present = np.zeros(total, dtype=bool)
    present[subject.rows] = True
    present[0] = False
    ids = subject.train.interactions[field].numpy()
    return {
        "coverage_ids": float(present[1:].mean()),
        "coverage_interactions": float(present[ids].mean()),
    }


def likeness_of(subject: Subject, sample: np.ndarray) -> tuple[str, np.ndarray]:
    """Return what neighbours should share, and [S, S] how much any two rows do."""
    tokens = subject.table.tokens[sample]
    labels = [subject.items.get(str(token), Item()).genres for token in tokens]
    if not subject.of_users and any(labels):
        return "genres", measures.label_likeness(labels)
    return ("items" if subject.of_users else "users"), shared_history(subject, sample)


def shared_history(subject: Subject, sample: np.ndarray) -> np.ndarray:
    """Return [S, S] the cosine of items as sets of training users, or of users as sets of items."""
    matrix = subject.train.inter_matrix("csr").astype(np.float32)
    if not subject.of_users:
        matrix = matrix.T.tocsr()
    rows = matrix[subject.rows[sample]]
    lengths = np.sqrt(np.maximum(np.asarray(rows.multiply(rows).sum(axis=1)), 1e-9))  # [S, 1]
    return np.asarray((rows @ rows.T).todense()) / lengths / lengths.T


def shown_rows(subject: Subject, wanted: list[str], count: int = 5) -> list[int]:
    """Return the rows whose neighbours are shown: those asked for, else the most popular."""
    if wanted:
        places = {token: row for row, token in enumerate(subject.table.tokens.tolist())}
        return [places[token] for token in wanted]
    field, total = _ids(subject)
    popular = np.bincount(subject.train.interactions[field].numpy(), minlength=total)
    counts = np.where(subject.rows > 0, popular[subject.rows], -1)
    return [int(row) for row in np.argsort(-counts, kind="stable")[:count]]


def _ids(subject: Subject) -> tuple[str, int]:
    """Return the field of the rows' ids, and how many ids the data set knows (0 among them)."""
    dataset = subject.dataset
    if subject.of_users:
        return dataset.uid_field, dataset.user_num
    return dataset.iid_field, dataset.item_num


def _sample(subject: Subject) -> np.ndarray:
    """Return rows of the data set in the table's order: a block of `MOST_ROWS` at most."""
    known = np.flatnonzero(subject.rows > 0)
    # Neighbouring rows stay neighbours: a random draw would turn a shift by one into noise.
    start = max(0, (len(known) - MOST_ROWS) // 2)
    return known[start : start + MOST_ROWS]
