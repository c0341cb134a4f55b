"""Quick layers: RecBole's models compute the same function without what nobody reads."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.utils import get_model, init_seed
from torch import nn

from ur4rec_recbole.core.dropout import Dropout
from ur4rec_recbole.patches.quick_layers import (
    LAST_STATE_READ,
    ROWS_AT_A_TIME,
    LastStateEncoder,
    speed_up,
)
from ur4rec_recbole.runs.assembly import build_trainer, load_data

MODELS = ("SASRec", "SASRecF", "FDSA", "S3Rec", "BERT4Rec", "CORE", "FEARec", "GRU4Rec")
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "dropout_prob": 0.0,
    "sess_dropout": 0.0,
    "item_dropout": 0.0,
}


def configured(model: str, **settings: Any) -> Config:
    values = {
        "load_col": {
            "inter": ["user_id", "item_id", "rating", "timestamp"],
            "item": ["item_id", "class"],
        },
        "train_neg_sample_args": None,
        "train_batch_size": 2 * ROWS_AT_A_TIME + 7,  # several groups, the last one smaller
        "initializer_range": 0.3,  # so that what is computed wrongly is not lost in rounding
        "state": "ERROR",
    }
    return Config(model, "ml-100k", config_dict={**values, **settings})


def new_model(config: Config, data: Any) -> nn.Module:
    """Return a model; S3Rec in its second stage, without the file of a first one."""
    config["train_stage"] = "pretrain"
    model = get_model(config["model"])(config, data)
    config["train_stage"] = model.train_stage = "finetune"
    model.loss_fct = nn.CrossEntropyLoss()
    return model


def outcome(model: nn.Module, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a model's loss on a batch and its gradients by parameter."""
    init_seed(3, True)  # BERT4Rec, FEARec and S3Rec's pretraining draw
    model.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_equal_those_of_the_unchanged_model(name: str) -> None:
    config = configured(name, **NO_DROPOUT)
    train, _, _ = load_data(config)
    init_seed(5, True)
    slow = new_model(config, train._dataset)
    quick = deepcopy(slow)
    speed_up(quick, config)
    assert quick.state_dict().keys() == slow.state_dict().keys()
    assert_same_outcome(slow, quick, next(iter(train)))


def assert_same_outcome(slow: nn.Module, quick: nn.Module, batch: Any) -> None:
    """Check losses and gradients."""
    loss, gradients = outcome(slow, batch)
    quick_loss, quick_gradients = outcome(quick, batch)
    torch.testing.assert_close(quick_loss, loss, rtol=1e-5, atol=1e-6)
    assert quick_gradients.keys() == gradients.keys()
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for key, gradient in gradients.items():
        # Those of the keys' biases are zero but for rounding.
        size = max(gradient.abs().max(), 1e-2 * largest)
        assert (quick_gradients[key] - gradient).abs().max() <= 1e-4 * size, key


@pytest.mark.parametrize("name", sorted(LAST_STATE_READ))
def test_predictions_equal_those_of_the_unchanged_model(name: str) -> None:
    config = configured(name)
    train, valid, _ = load_data(config)
    slow = new_model(config, train._dataset).eval()
    quick = deepcopy(slow)
    speed_up(quick, config)
    batch = next(iter(valid))[0]
    torch.testing.assert_close(
        quick.full_sort_predict(batch), slow.full_sort_predict(batch), rtol=1e-4, atol=1e-4
    )


def test_the_trainer_gets_a_quick_model_only_where_the_key_is_set() -> None:
    def kinds(**settings: Any) -> set[type]:
        config = configured("SASRec", **settings)
        return {type(module) for module in build_trainer(config, data).model.modules()}

    data, _, _ = load_data(configured("SASRec"))
    assert {LastStateEncoder, Dropout} <= kinds(quick_layers=True)
    assert nn.Dropout not in kinds(quick_layers=True)
    assert not {LastStateEncoder, Dropout} & kinds()


def test_a_pretraining_has_the_same_loss_and_gradients() -> None:
    config = configured("S3Rec", train_stage="pretrain", **NO_DROPOUT)
    train, _, _ = load_data(config)
    slow = get_model("S3Rec")(config, train._dataset)
    quick = deepcopy(slow)
    speed_up(quick, config)
    batch = next(iter(train))  # sequences are padded on the left then
    assert_same_outcome(slow, quick, batch)


def test_a_pretraining_computes_all_states_of_one_sequence_in_four() -> None:
    config = configured("S3Rec", train_stage="pretrain")
    train, _, _ = load_data(config)
    model: Any = get_model("S3Rec")(config, train._dataset)
    speed_up(model, config)
    whole: list[int] = []
    last = model.trm_encoder.layer[-1]
    last.register_forward_hook(lambda layer, given, made: whole.append(len(made)))
    batch = next(iter(train))
    model.calculate_loss(batch)
    assert sum(whole) == len(batch)
