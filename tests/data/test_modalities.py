"""Modalities: tables in RecBole's id order, scaled, and masked where there is nothing."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import make_table
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import CHECKOUT
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.modalities import load_modalities, scale, table_path

SOME = [f"i{n}" for n in range(1, 16)]


def shuffled(table: FeatureTable) -> FeatureTable:
    order = np.random.default_rng(9).permutation(len(table))
    lengths = None if table.lengths is None else table.lengths[order]
    return FeatureTable(table.tokens[order], table.vectors[order], table.provenance, lengths)


def test_shuffling_the_rows_of_all_tables_changes_no_score(full_toy: Any) -> None:
    first = full_toy()
    model = first.model
    before = model.full_sort_predict(first.rows())
    for key in ("item_text_table", "item_image_table", "user_profile_table"):
        path = first.config[key]
        shuffled(FeatureTable.load(path)).save(path)
    again = first.new_model()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.full_sort_predict(first.rows()), before)


def test_the_values_of_a_table_do_change_scores(toy: Any) -> None:
    scores = []
    for seed in (1, 2):
        made = toy(tables={"item_text_table": make_table("item_text", SOME, seed=seed)})
        scores.append(made.model.full_sort_predict(made.rows()))
    assert not torch.allclose(scores[0], scores[1])


@pytest.mark.parametrize("scaling", [None, "standardize", "whiten"])
def test_a_missing_item_is_masked_whatever_its_row_holds(full_toy: Any, scaling: str) -> None:
    made = full_toy(feature_scaling=scaling)
    model, rows = made.model, made.rows()
    before = model.full_sort_predict(rows)
    for name in ("text", "image"):
        missing = ~model.features.present(name)
        assert missing.sum() > 1  # padding and some items
        assert bool((rows["item_id_list"] > 0)[missing[rows["item_id_list"]]].any())
        model.features.vectors(name)[missing] = 1e3 * torch.randn(
            int(missing.sum()), model.features.vectors(name).shape[1]
        )
    assert torch.equal(model.full_sort_predict(rows), before)


def test_scaling_ignores_missing_items() -> None:
    vectors = np.random.default_rng(0).normal(3, 2, size=(6, 3)).astype(np.float32)
    present = np.array([False, True, True, True, False, True])
    for method in ("standardize", "whiten"):
        garbage = vectors.copy()
        garbage[~present] = 1e6
        expected = scale(vectors, present, method)[present]
        assert np.array_equal(scale(garbage, present, method)[present], expected)
        assert not scale(garbage, present, method)[~present].any()


def test_standardize_gives_mean_0_and_deviation_1_a_dimension() -> None:
    vectors = np.random.default_rng(0).normal(3, [1, 10, 100], size=(50, 3))
    present = np.arange(50) > 0
    rows = scale(vectors, present, "standardize")[present]
    assert np.allclose(rows.mean(0), 0, atol=1e-6)
    assert np.allclose(rows.std(0), 1, atol=1e-6)


def test_standardize_leaves_a_constant_dimension_at_0() -> None:
    vectors = np.array([[0, 0], [1, 7], [2, 7], [3, 7]], dtype=np.float32)
    rows = scale(vectors, np.array([False, True, True, True]), "standardize")
    assert np.isfinite(rows).all()
    assert not rows[:, 1].any()
    assert np.allclose(rows[1:, 0], [-(1.5**0.5), 0, 1.5**0.5])


def test_whiten_decorrelates_and_drops_what_hardly_varies() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=(200, 2))
    vectors = np.column_stack(
        [base[:, 0], base[:, 0] + base[:, 1], 1e-3 * generator.normal(size=200)]
    )
    rows = scale(vectors, np.ones(200, dtype=bool), "whiten")
    assert np.allclose(np.cov(rows[:, :2].T, bias=True), np.eye(2), atol=1e-6)
    assert not rows[:, 2].any()


def test_no_scaling_returns_vectors_as_they_are() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 2))
    assert np.array_equal(scale(vectors, np.ones(5, dtype=bool), None), vectors)


@pytest.mark.parametrize("method", ["standardize", "whiten"])
def test_identical_vectors_scale_to_finite_ones(method: str) -> None:
    vectors = np.ones((4, 3), dtype=np.float32)
    assert np.isfinite(scale(vectors, np.ones(4, dtype=bool), method)).all()


def test_an_unknown_scaling_is_refused(full_toy: Any) -> None:
    with pytest.raises(InputError, match="feature_scaling.*squash"):
        full_toy(feature_scaling="squash").new_model()


def test_swapped_tables_are_refused(toy: Any) -> None:
    made = toy(tables={"item_image_table": make_table("item_text", SOME)})
    with pytest.raises(InputError, match="item_image_table.*item_image.*item_text"):
        load_modalities(made.config, made.train)


def test_a_table_of_another_data_set_is_refused_unless_allowed(toy: Any) -> None:
    tables = {"item_text_table": make_table("item_text", ["i1", "i2", "elsewhere"])}
    made = toy(tables=tables)
    with pytest.raises(InputError, match="elsewhere"):
        load_modalities(made.config, made.train)
    made = toy(tables=tables, allow_unknown_tokens=True)
    assert int(load_modalities(made.config, made.train).items["text"].present.sum()) == 2


def test_an_unset_table_is_reported_and_left_out(
    toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = toy(tables={"item_text_table": make_table("item_text", SOME)})
    with caplog.at_level(logging.INFO):
        found = load_modalities(made.config, made.train)
    assert list(found.items) == ["text"]
    assert found.profile is None
    lines = [r.getMessage() for r in caplog.records if "masked" in r.getMessage()]
    assert [line.split()[0] for line in lines] == ["item_image_table", "user_profile_table"]


def test_a_table_may_be_named_by_data_set_and_lie_in_the_repository(toy: Any) -> None:
    made = toy()
    made.config["item_text_table"] = "dataset/{dataset}/item_text.npz"
    with pytest.raises(InputError, match="dataset/toy/item_text.npz"):
        load_modalities(made.config, made.train)
    made.config["dataset"] = "ml-100k"
    assert table_path(made.config, "item_text_table") == CHECKOUT / "dataset/ml-100k/item_text.npz"


def test_a_table_in_the_current_folder_comes_first(toy: Any, tmp_path: Any) -> None:
    made = toy()
    make_table("item_text", SOME).save(tmp_path / "here" / "toy.npz")
    made.config["item_text_table"] = "here/{dataset}.npz"
    assert (
        len(load_modalities(made.config, made.train).items["text"].vectors) == made.train.item_num
    )


def test_profile_row_0_stays_the_absent_one(full_toy: Any) -> None:
    made = full_toy()
    profile = load_modalities(made.config, made.train).profile
    assert not profile.vectors[0].any()
    assert torch.allclose(profile.vectors[1:].mean(0), torch.zeros(4), atol=1e-5)


def test_profiles_are_scaled_as_items_are(full_toy: Any) -> None:
    rows = full_toy(feature_scaling="whiten").model.features.profile_vectors[1:].double().numpy()
    assert np.allclose(np.cov(rows.T, bias=True), np.eye(rows.shape[1]), atol=1e-4)
