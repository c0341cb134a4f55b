"""eval_args: how parts are split, and among which items targets are ranked."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import LENGTHS

TARGETS = sum(n - 1 for n in LENGTHS)
SPLITS: dict[str, dict[str, Any]] = {
    "LS valid_and_test": {"split": {"LS": "valid_and_test"}},
    "LS test_only": {"split": {"LS": "test_only"}},
    "LS valid_only": {"split": {"LS": "valid_only"}},
    "RS by user": {"split": {"RS": [0.6, 0.2, 0.2]}, "group_by": "user"},
    "RS of all": {"split": {"RS": [0.6, 0.2, 0.2]}, "group_by": "none"},
    "TS": {"split": {"TS": [0.6, 0.2, 0.2]}},
}
MODES: dict[str, Any] = {
    "full": "full",
    "uni4": "uni4",
    "pop4": "pop4",
    "each its own": {"valid": "uni4", "test": "full"},
}


@pytest.fixture(scope="module")
def found(
    settings: dict[str, Any], runs: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    how = {name: {"order": "TO", "mode": "full"} | split for name, split in SPLITS.items()}
    how |= {
        name: {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode}
        for name, mode in MODES.items()
    }
    return runs({name: settings | {"eval_args": each} for name, each in how.items()})


@pytest.mark.parametrize("name", SPLITS)
def test_every_target_is_in_one_part(found: dict[str, Any], name: str) -> None:
    assert "error" not in found[name], found[name]
    assert sum(found[name]["targets"]) == TARGETS
    assert bool(found[name]["test"]) == bool(found[name]["targets"][2])
    assert all(0 <= value <= 1 for value in found[name]["test"].values())


def test_leave_one_out_leaves_one_a_user(found: dict[str, Any]) -> None:
    """Of users with three interactions and more: the first is never a target."""
    ones = sum(n > 2 for n in LENGTHS)
    assert found["LS valid_and_test"]["targets"][1:] == [sum(n > 3 for n in LENGTHS), ones]
    assert found["LS test_only"]["targets"][1:] == [0, ones]
    assert found["LS valid_only"]["targets"][1:] == [ones, 0]


@pytest.mark.parametrize("name", ["uni4", "pop4"])
def test_a_target_is_among_the_first_five_of_five(found: dict[str, Any], name: str) -> None:
    assert found[name]["test"]["hit@5"] == 1.0


@pytest.mark.parametrize("name", ["full", "each its own"])
def test_the_test_part_is_ranked_as_its_own_mode_says(found: dict[str, Any], name: str) -> None:
    assert 0 <= found[name]["test"]["hit@5"] < 1.0
