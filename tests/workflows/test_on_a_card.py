"""A graphics card trains what the processor would. Skipped where there is none."""

from typing import Any

import pytest
import torch

from tests.workflows.conftest import SETTINGS, curve
from ur4rec_recbole import run
from ur4rec_recbole.serving.recommender import Recommender

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card"),
    pytest.mark.usefixtures("described_toy"),
]
TIMES = {"time_intervals": True, "request_time": True, "encoder_content": True}


@pytest.mark.parametrize("settings", [{}, TIMES, {"fusion": "gated", "router_top_k": 0}])
def test_a_card_trains_what_the_processor_would(settings: dict[str, Any]) -> None:
    wanted = SETTINGS | settings
    run("UR4Rec", "toy", config_dict=wanted | {"run_folder": "processor", "use_gpu": False})
    made = run("UR4Rec", "toy", config_dict=wanted | {"run_folder": "card", "use_gpu": True})
    assert next(made.model.parameters()).is_cuda
    for (stage, one), (same, other) in zip(curve("processor"), curve("card"), strict=True):
        assert stage == same
        assert other == pytest.approx(one, rel=1e-3), stage


@pytest.mark.parametrize(
    "settings",
    [
        {"enable_amp": True},
        {"hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2, "shuffle_gap": "1h"},
        {"retrieval_loss": "sampled_softmax", "hard_negative_share": 0.2, "logq_correction": True},
        {"negative_distribution": "in_batch", "retrieval_loss": "gbce"},
        {"n_neighbour_items": 2, "weight_average": 0.9, "item_id_dropout": 0.1},
    ],
)
def test_what_is_drawn_is_drawn_on_a_card(settings: dict[str, Any]) -> None:
    found = run("UR4Rec", "toy", config_dict=SETTINGS | settings | {"run_folder": "card"})
    assert 0 < found.metrics["test"]["full_masked"]["ndcg@10"] <= 1


NEXT_ITEM = {"loss_type": "CE", "train_neg_sample_args": None, "epochs": 2}
OTHERS = [
    ("SASRec", NEXT_ITEM | {"quick_layers": True}),
    ("CORE", NEXT_ITEM | {"quick_layers": True}),
    ("ItemTransition", {}),
    ("ContentKNN", {"item_text_table": "text.npz"}),
    ("UR4RecEnsemble", {"members": [{"model": "UR4Rec", **SETTINGS}, {"model": "ItemTransition"}]}),
]


@pytest.mark.parametrize(("model", "settings"), OTHERS, ids=[name for name, _ in OTHERS])
def test_other_models_run_on_a_card(model: str, settings: dict[str, Any]) -> None:
    shared = {key: SETTINGS[key] for key in ("data_path", "load_col", "state", "topk")}
    found = run(model, "toy", config_dict=shared | settings | {"run_folder": "card"})
    assert 0 < found.metrics["test"]["full"]["ndcg@10"] <= 1


def test_a_model_of_a_card_serves_on_the_processor() -> None:
    run("UR4Rec", "toy", config_dict=SETTINGS | {"run_folder": "card"})
    Recommender.load("card").save("served")
    one, other = (Recommender.load(place) for place in ("card", "served"))
    history = ["i1", "i2", "i3"]
    assert one.recommend(history, k=5).items == other.recommend(history, k=5).items
    assert torch.load("card/model.pth", map_location="cpu", weights_only=False)["state_dict"]


def test_an_interrupted_run_goes_on_on_a_card() -> None:
    settings = SETTINGS | {"run_folder": "whole"}
    run("UR4Rec", "toy", config_dict=settings)

    def stop(epoch: int, value: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("UR4Rec", "toy", config_dict=settings | {"run_folder": "cut"}, callback_fn=stop)
    run(resume="cut")
    for (_, one), (_, other) in zip(curve("whole"), curve("cut"), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
