"""Configuration: every key documented and typed, every mistake named."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from recbole.config import Config

from ur4rec_recbole.core import config as configuration
from ur4rec_recbole.core.errors import InputError

DEFAULTS = configuration.defaults_file("UR4Rec")
KEYS = sorted(configuration.schema())


def make(**settings: Any) -> Config:
    return Config(model="UR4Rec", dataset="ml-100k", config_dict={"state": "ERROR"} | settings)


def test_every_key_of_the_yaml_file_documents_its_type() -> None:
    keys = set(yaml.safe_load(DEFAULTS.read_text()))
    assert set(KEYS) == keys | {"run_folder", "evaluated_parts"}
    for rule in configuration.schema().values():
        assert set(rule.types) <= set(configuration.TYPES)
    for line in DEFAULTS.read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            assert line.endswith("."), line


@pytest.mark.parametrize("key", KEYS)
def test_every_default_fits_its_documented_type(key: str) -> None:
    value = configuration.defaults()[key]
    assert configuration.schema()[key].admits(value)
    configuration.check_values(configuration.defaults())


def test_defaults_reach_recboles_config() -> None:
    made = make()
    for key, value in configuration.defaults().items():
        if key != "train_neg_sample_args":  # RecBole spells its ~ out
            assert made[key] == value, key


def test_a_small_float_is_a_number() -> None:
    assert configuration.defaults()["layer_norm_eps"] == 1e-12


def test_what_is_given_wins_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hidden_size: 32\nn_layers: 5\n")
    made = Config("UR4Rec", "ml-100k", [str(tmp_path / "a.yaml")], {"n_layers": 1})
    assert (made["hidden_size"], made["n_layers"], made["n_heads"]) == (32, 1, 2)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("hiden_size", "hidden_size"), ("learning_rat", "learning_rate"), ("stage", "stages")],
)
def test_an_unknown_key_is_refused_with_a_suggestion(key: str, suggestion: str) -> None:
    with pytest.raises(InputError, match=f"{key!r}.*Did you mean '{suggestion}'"):
        make(**{key: 3})


def test_an_unknown_key_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("expert_layer: 2\n")
    with pytest.raises(InputError, match="'expert_layer'.*'expert_layers'"):
        Config("UR4Rec", "ml-100k", [str(tmp_path / "a.yaml")])


@pytest.mark.parametrize("key", [
    "seed", "gpu_id", "eval_args", "load_col", "MAX_ITEM_LIST_LENGTH", "weight_decay",
    "clip_grad_norm", "user_inter_num_interval", "checkpoint_dir", "log_wandb", "data_path",
    "enable_amp", "save_dataset", "benchmark_filename", "repeatable", "loss_decimal_place",
])  # fmt: skip
def test_keys_of_recbole_are_known(key: str) -> None:
    configuration.check_known([key], known=make().internal_config_dict)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_layers", "two", "must be int.*Received 'two' \\(str\\)"),
        ("n_layers", 2.5, "must be int.*Received 2.5 \\(float\\)"),
        ("n_layers", True, "must be int.*Received True \\(bool\\)"),
        ("learning_rate", True, "must be float.*Received True"),
        ("learning_rate", "fast", "must be float.*Received 'fast'"),
        ("norm_first", 1, "must be bool.*Received 1"),
        ("exclude_history", "yes", "must be bool.*Received 'yes'"),
        ("hidden_act", None, "must be str.*Received None"),
        ("hidden_size", None, "must be int.*Received None"),
        ("item_text_table", 5, "must be str or ~.*Received 5"),
        ("fusion_weights", 0.5, "must be list.*Received 0.5"),
        ("stages", "pretrain_sasrec", "must be list"),
        ("train_neg_sample_args", 5, "must be dict or ~"),
    ],
)
def test_a_mistyped_value_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"{key!r} {message}"):
        make(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", 1), ("item_text_table", None), ("item_text_table", "a.npz"),
     ("fusion_weights", (0.5, 0.5)), ("feature_scaling", None)],
)  # fmt: skip
def test_a_fitting_value_is_taken(key: str, value: Any) -> None:
    assert make(**{key: value})[key] == value


def test_a_single_metric_and_cut_off_are_taken_as_recbole_takes_them() -> None:
    made = make(metrics="NDCG", topk=10)
    assert (made["metrics"], made["topk"]) == (["NDCG"], [10])


def test_a_missing_key_is_refused() -> None:
    values = configuration.defaults()
    del values["n_layers"]
    with pytest.raises(InputError, match="'n_layers' must be set"):
        configuration.check_values(values)


def test_other_models_are_not_checked() -> None:
    made = Config("BPR", "ml-100k", config_dict={"state": "ERROR", "no_such_key": 1})
    assert made["no_such_key"] == 1
    assert "n_sub_experts" not in made.final_config_dict
    assert "UR4Rec" not in made.parameters


def test_a_printed_configuration_shows_the_keys_of_the_model() -> None:
    assert "UR4Rec Hyper Parameters" in str(make())
    assert "n_sub_experts" in str(make())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "sum"}, "fusion.*weighted.*gated.*Received 'sum'"),
        ({"fusion_weights": [1.0]}, "fusion_weights"),
        ({"fusion_weights": [-1, 2]}, "fusion_weights"),
        ({"fusion_weights": [0, 0]}, "fusion_weights"),
        ({"hidden_act": "step"}, "hidden_act"),
        ({"hidden_size": 15}, "hidden_size must be a multiple"),
        ({"expert_heads": 3}, "must be a multiple"),
        ({"router_top_k": 9}, "router_top_k"),
        ({"n_proxy_tokens": 0}, "n_proxy_tokens"),
        ({"stages": []}, "stages"),
        ({"num_negatives": -1}, "num_negatives"),
        ({"negative_distribution": "zipf"}, "negative_distribution"),
        ({"retrieval_temperature": 0.0}, "retrieval_temperature"),
        ({"fusion_scale": 0.0}, "fusion_scale"),
        ({"n_sub_experts": -1}, "n_sub_experts"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob"),
        ({"router_temperature": 0}, "router_temperature"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"epochs": -1}, "epochs"),
        ({"stopping_step": 0}, "stopping_step"),
    ],
)
def test_a_value_out_of_range_is_refused_before_training(
    toy: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        toy(**settings).new_model()


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (">= 1", [1, 1.5, 9], [0, 0.99, -1]),
        ("> 0", [0.001, 5], [0, 0.0, -1]),
        ("0 to 1", [0, 0.5, 1], [-0.1, 1.01]),
        ("one of a|bc", ["a", "bc"], ["b", "", "a|bc"]),
        ("", [-5, 0.0, "x"], []),
    ],
)
def test_a_bound_holds_its_own_limit_and_nothing_beyond(
    bound: str, inside: list[Any], outside: list[Any]
) -> None:
    rule = configuration.Rule(("float", "str"), bound)
    assert all(rule.admits(value) for value in inside)
    assert not any(rule.admits(value) for value in outside)


def test_a_rate_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="learning_rate"):
        make(learning_rate=float("nan"))
