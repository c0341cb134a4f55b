"""Stages: names or mappings in YAML, each mistake named."""

from typing import Any

import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model.stages import Stage, read_stages

CONFIG = {
    "stages": ["pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end"],
    "learning_rate": 0.002,
    "retriever_learning_rate": 0.03,
    "joint_encoder_rate": 0.1,
    "epochs": 7,
    "stopping_step": 3,
}


def read(*stages: Any) -> list[Stage]:
    return read_stages(CONFIG | {"stages": list(stages)})


def test_the_four_stages_train_freeze_and_validate_as_designed() -> None:
    found = read_stages(CONFIG)
    assert [stage.name for stage in found] == CONFIG["stages"]
    assert [stage.trains for stage in found] == [
        ("encoder",),
        ("retriever",),
        ("encoder", "retriever", "fusion"),
        ("encoder", "retriever", "fusion"),
    ]
    assert [stage.score for stage in found] == ["sequence", "fused", "fused", "fused"]
    assert [set(stage.losses) for stage in found] == [
        {"sequence"},
        {"retrieval"},
        {"fused", "sequence", "retrieval"},
        {"fused"},
    ]
    assert all((stage.epochs, stage.patience) == (7, 3) for stage in found)


def test_rates_are_those_of_the_configuration() -> None:
    first, second, joint, last = read_stages(CONFIG)
    assert first.rates == {"encoder": 0.002}
    assert second.rates == {"retriever": 0.03}
    lowered = pytest.approx(0.0002)
    assert joint.rates == {"encoder": lowered, "retriever": 0.03, "fusion": 0.03}
    assert last.rates == {"encoder": lowered, "retriever": lowered, "fusion": lowered}


def test_stages_can_be_dropped_reordered_and_repeated() -> None:
    found = read("end_to_end", "pretrain_sasrec", "end_to_end")
    assert [stage.name for stage in found] == ["end_to_end", "pretrain_sasrec", "end_to_end"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 2),
        ("patience", 1),
        ("score", "retrieval"),
        ("rates", {"encoder": 0.5}),
        ("losses", {"retrieval": 2.0}),
    ],
)
def test_a_mapping_overrides_one_setting_and_keeps_the_rest(key: str, value: Any) -> None:
    plain, changed = read("joint_finetune", {"name": "joint_finetune", key: value})
    assert getattr(changed, key) == value
    for other in {"epochs", "patience", "score", "rates", "losses"} - {key}:
        assert getattr(changed, other) == getattr(plain, other)


def test_an_override_leaves_the_configuration_as_it_was() -> None:
    entry = {"name": "end_to_end", "epochs": 1}
    read(entry)
    assert entry == {"name": "end_to_end", "epochs": 1}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("pretrain", "'pretrain'"),
        ({"epochs": 3}, "None"),
        ({"name": "end_to_end", "epoch": 3}, "end_to_end.*'epoch'"),
        ({"name": "end_to_end", "rates": {"expert": 0.1}}, "rates of end_to_end.*'expert'"),
        ({"name": "end_to_end", "rates": {}}, "rates of end_to_end"),
        ({"name": "end_to_end", "losses": {"bpr": 1.0}}, "losses of end_to_end.*'bpr'"),
        ({"name": "end_to_end", "losses": {}}, "losses of end_to_end"),
        ({"name": "end_to_end", "rates": {"encoder": float("inf")}}, "rates of end_to_end"),
        ({"name": "end_to_end", "rates": {"encoder": True}}, "rates of end_to_end"),
        ({"name": "end_to_end", "losses": {"fused": float("nan")}}, "losses of end_to_end"),
        ({"name": "end_to_end", "epochs": True}, "epochs of end_to_end"),
        (
            {"name": "pretrain_sasrec", "rates": {"retriever": 0.1}},
            "losses of pretrain_sasrec must have one that a training part can lower",
        ),
        ({"name": "end_to_end", "score": "best"}, "score of end_to_end.*'best'"),
        (
            {"name": "end_to_end", "epochs": -1},
            "epochs of end_to_end must be an int, >= 0. Received -1",
        ),
        (
            {"name": "end_to_end", "patience": 0},
            "patience of end_to_end must be an int, >= 1. Received 0",
        ),
    ],
)
def test_a_mistaken_entry_is_refused_by_name(entry: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read("pretrain_sasrec", entry)


@pytest.mark.parametrize(
    "entry",
    [
        3,
        None,
        ["pretrain_sasrec"],
        {"name": "end_to_end", "epochs": "many"},
        {"name": "end_to_end", "patience": None},
        {"name": "end_to_end", "rates": 0.1},
        {"name": "end_to_end", "rates": {"encoder": "fast"}},
        {"name": "end_to_end", "losses": "fused"},
    ],
)
def test_an_entry_of_the_wrong_type_is_refused(entry: Any) -> None:
    with pytest.raises(InputError, match="stages"):
        read("pretrain_sasrec", entry)


@pytest.mark.parametrize("stages", [[], None])
def test_no_stage_at_all_is_refused(stages: Any) -> None:
    with pytest.raises(InputError, match="at least one stage"):
        read_stages(CONFIG | {"stages": stages})
