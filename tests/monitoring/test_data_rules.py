"""Rules over the data: said before training, with numbers."""

from typing import Any

import pytest

from ur4rec_recbole.monitoring.data_rules import data_findings

AGAIN = {f"u{u}": [f"i{u}", f"i{u + 1}", f"i{u}", f"i{u + 1}", f"i{u}"] for u in range(1, 11)}


@pytest.mark.parametrize(("exclude", "names"), [(True, ["targets_in_history"]), (False, [])])
def test_targets_that_exclude_history_rules_out_are_found(
    toy: Any, exclude: bool, names: list[str]
) -> None:
    items = [f"i{n}" for n in range(1, 131)]
    histories = AGAIN | {"v1": ["i1", "i2", "i3", "i4"], "v2": ["i5", "i6", "i7", "i8"]}
    made = toy(histories, items=items, exclude_history=exclude)
    found = data_findings(made.config, made.valid)
    assert [each.name for each in found] == names
    for each in found:
        assert each.evidence.startswith("83.3% of the validation targets (10 of 12)")
        assert "exclude_history: True" in each.cause


def test_users_with_too_few_unseen_items_are_named(toy: Any) -> None:
    made = toy()
    (found,) = data_findings(made.config, made.valid)
    assert found.name == "left_out"
    assert "uniform_99 and popularity_99 need 99" in found.evidence
    assert "6 for user u10" in found.evidence
