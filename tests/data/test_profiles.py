"""Causal profiles: the newest snapshot a position may know, and none from beyond training."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from tests.conftest import make_profiles, make_table
from tests.properties import few
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_fingerprint
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.profiles import newest_snapshot, profile_index
from ur4rec_recbole.model.positions import Positions


def test_newest_snapshot_equals_the_naive_lookup() -> None:
    generator = np.random.default_rng(0)
    snapshots = sorted({(int(u), int(n)) for u, n in generator.integers(1, 12, size=(40, 2))})
    base = 1 + max(n for _, n in snapshots)
    keys = torch.tensor([u * base + n for u, n in snapshots])
    users = torch.arange(0, 14)
    known = torch.arange(0, 30).expand(len(users), -1)
    rows = newest_snapshot(keys, base, users, known)
    for user in users.tolist():
        for count in range(30):
            best = reference.newest_snapshot(snapshots, user, count)
            expected = 0 if best is None else 1 + snapshots.index(best)
            assert rows[user, count] == expected, (user, count)


def test_without_any_snapshot_every_position_has_none() -> None:
    rows = newest_snapshot(
        torch.zeros(0, dtype=torch.long), 1, torch.tensor([1, 2]), torch.ones(2, 3).long()
    )
    assert rows.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_index_gives_each_snapshot_its_own_vector(toy: Any) -> None:
    made = toy()
    table = make_profiles(made.train)
    index = profile_index(table, made.train)
    for token, length, vector in zip(table.tokens, table.lengths, table.vectors, strict=True):
        user = torch.tensor([made.train.token2id("user_id", token)])
        row = newest_snapshot(index.keys, index.base, user, torch.tensor([[length]]))
        assert np.array_equal(index.vectors[row.item()].numpy(), vector)


def test_a_profile_of_exactly_the_training_part_is_accepted(toy: Any) -> None:
    made = toy()
    source = training_fingerprint(made.train)
    table = make_table("user_profile", ["u10", "u5"], lengths=[12, 3], source=source)
    assert len(profile_index(table, made.train).keys) == 2


@pytest.mark.parametrize("length", [13, 14, 40])
def test_a_profile_that_reaches_into_validation_or_test_is_refused_by_user(
    toy: Any, length: int
) -> None:
    made = toy()  # u10 has 14 interactions, 12 of them for training
    source = training_fingerprint(made.train)
    table = make_table("user_profile", ["u10", "u9"], lengths=[length, 4], source=source)
    with pytest.raises(InputError, match="1 users .*validation or test.*'u10'"):
        profile_index(table, made.train)


def test_profiles_of_other_training_interactions_are_refused(toy: Any) -> None:
    made = toy()
    table = make_table("user_profile", ["u10"], lengths=[3], source="0" * 64)
    with pytest.raises(InputError, match="source_sha256.*000000000000"):
        profile_index(table, made.train)


def test_profiles_made_for_another_split_are_refused_by_the_model(full_toy: Any) -> None:
    made = full_toy()
    everything_trained = full_toy(eval_args={"split": {"LS": "test_only"}, "order": "TO"}).config[
        "user_profile_table"
    ]
    made.config["user_profile_table"] = everything_trained
    with pytest.raises(InputError, match="profile"):
        made.new_model()


def test_an_unknown_user_is_refused_unless_allowed(toy: Any) -> None:
    made = toy()
    source = training_fingerprint(made.train)
    table = make_table("user_profile", ["stranger", "u5"], lengths=[9, 2], source=source)
    with pytest.raises(InputError, match="stranger"):
        profile_index(table, made.train)
    index = profile_index(table, made.train, allow_unknown=True)
    assert len(index.keys) == 1
    assert np.array_equal(index.vectors[1].numpy(), table.vectors[1])


def test_an_empty_profile_table_leaves_the_modality_masked(toy: Any) -> None:
    made = toy()
    sound = make_profiles(made.train)
    empty = FeatureTable(sound.tokens[:0], sound.vectors[:0], sound.provenance, sound.lengths[:0])
    empty.save(made.config["data_path"] + "/empty.npz")
    made.config["user_profile_table"] = made.config["data_path"] + "/empty.npz"
    _, routes = made.model.retrieve(
        *_states(made.model, made.rows()), made.rows(), torch.zeros(len(made.valid), 1).long()
    )
    assert not routes.modal.any()


def _states(model: Any, rows: Any) -> tuple[torch.Tensor, Positions]:
    return torch.randn(len(rows), 16), Positions(torch.ones(len(rows), 1, dtype=torch.bool))


@few
@given(
    snapshots=st.sets(st.tuples(st.integers(1, 5), st.integers(1, 9)), max_size=12),
    known=st.integers(0, 12),
)
def test_no_position_has_a_snapshot_from_its_future(
    snapshots: set[tuple[int, int]], known: int
) -> None:
    ordered = sorted(snapshots)
    base = 1 + max((length for _, length in ordered), default=0)
    keys = torch.tensor([user * base + length for user, length in ordered], dtype=torch.long)
    users = torch.arange(7)
    rows = newest_snapshot(keys, base, users, torch.full((7, 1), known)).squeeze(1).tolist()
    for user, row in zip(users.tolist(), rows, strict=True):
        lengths = [length for owner, length in ordered if owner == user and length <= known]
        assert bool(row) == bool(lengths)
        if row:
            assert ordered[row - 1] == (user, max(lengths))


def test_a_long_profile_of_a_stranger_hides_nobody_elses(toy: Any) -> None:
    made = toy()
    plain = make_profiles(made.train)
    source = training_fingerprint(made.train)
    tokens, lengths = [*plain.tokens, "stranger"], [*plain.lengths, 2**31 - 1]
    index = profile_index(
        make_table("user_profile", tokens, 4, lengths=lengths, source=source),
        made.train,
        allow_unknown=True,
    )
    assert len(index.keys) == len(plain)
    assert index.base == int(plain.lengths.max()) + 1
