"""Item vectors: the sum of what is present of the item, for the encoder and for retrieval."""

from typing import Any

import pytest
import torch

from tests.conftest import make_table
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.modalities import ItemFeatures, Modalities
from ur4rec_recbole.model.features import FeatureBank
from ur4rec_recbole.model.items import ItemEmbedding, ItemTower

N, D = 7, 8
WIDTHS = {"text": 5, "image": 3}


def bank() -> FeatureBank:
    generator = torch.Generator().manual_seed(0)
    text = ItemFeatures(torch.randn(N, 5, generator=generator), torch.arange(N) % 2 == 1)
    image = ItemFeatures(torch.randn(N, 3, generator=generator), torch.arange(N) > 3)
    return FeatureBank(Modalities({"text": text, "image": image}, None))


def tower(use_item_id: bool = True) -> ItemTower:
    made = ItemTower(WIDTHS, D, use_item_id, 0.0).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def test_an_item_vector_is_the_sum_of_its_present_parts() -> None:
    made, features, ids = tower(), bank(), torch.randn(N, D)
    for item, vector in enumerate(made(ids, features)):
        expected = made.id_projection(ids[item])
        if item % 2 == 1:
            expected = expected + made.content["text"](features.vectors("text")[item])
        if item > 3:
            expected = expected + made.content["image"](features.vectors("image")[item])
        assert torch.allclose(vector, expected, atol=1e-5)


def test_an_absent_part_is_0_and_not_the_mlp_of_a_zero_vector() -> None:
    made, features = tower(), bank()
    parts = made.parts(torch.randn(N, D), features)
    assert not parts["text"][0].any()
    assert not parts["image"][:4].any()
    assert made.content["image"](torch.zeros(3)).any()


def test_without_ids_an_item_is_its_content_alone() -> None:
    made, features = tower(use_item_id=False), bank()
    assert torch.equal(made(torch.randn(N, D), features), made(torch.randn(N, D), features))
    assert set(made.parts(torch.randn(N, D), features)) == {"text", "image"}


def test_gradients_reach_the_ids_and_every_mlp() -> None:
    made, ids = tower(), torch.randn(N, D, requires_grad=True)
    made(ids, bank()).pow(2).sum().backward()
    assert ids.grad.any()
    assert all(parameter.grad.any() for parameter in made.parameters())


def test_an_embedding_without_content_is_the_id_table() -> None:
    made = ItemEmbedding(N, D, {}, torch.ones(N, dtype=torch.bool))
    assert torch.equal(made(bank()), made.id.weight)


def test_an_item_without_a_training_interaction_has_its_content_s_vector() -> None:
    warm = torch.arange(N) != 3
    made, features = ItemEmbedding(N, D, WIDTHS, warm), bank()
    alone = ItemEmbedding(N, D, WIDTHS)
    alone.content.load_state_dict(made.content.state_dict())
    differs = (made(features) != alone(features)).any(1)
    assert differs.tolist() == [item not in (0, 3) for item in range(N)]


def test_id_dropout_leaves_whole_ids_out_in_training_alone() -> None:
    made, features = ItemEmbedding(N, D, WIDTHS, torch.ones(N, dtype=torch.bool), 0.25), bank()
    whole, content = made.eval()(features), sum(made.content_parts(features))
    left_out = torch.zeros(N)
    for _ in range(400):
        vectors = made.train()(features)
        alone = (vectors == content).all(1)
        assert torch.equal(vectors[~alone], whole[~alone])
        left_out += alone
    described = (content != 0).any(1)
    assert left_out[described].sum() / 400 == pytest.approx(0.25 * int(described.sum()), rel=0.1)
    assert not left_out[1:][~described[1:]].any()  # an item without content keeps its id


@pytest.mark.parametrize("use_item_id", [False, True])
def test_an_embedding_adds_the_content_that_is_present(use_item_id: bool) -> None:
    warm = torch.ones(N, dtype=torch.bool) if use_item_id else None
    made, features = ItemEmbedding(N, D, WIDTHS, warm), bank()
    for item, vector in enumerate(made(features)):
        expected = made.id.weight[item] if use_item_id else torch.zeros(D)
        if item % 2 == 1:
            expected = expected + made.content["text"].weight @ features.vectors("text")[item]
        if item > 3:
            expected = expected + made.content["image"].weight @ features.vectors("image")[item]
        assert torch.allclose(vector, expected, atol=1e-5)


def test_content_starts_about_as_large_as_the_ids(toy: Any) -> None:
    text = make_table("item_text", [f"i{n}" for n in range(1, 21)], 400)
    made = toy(tables={"item_text_table": text}, encoder_content=True, hidden_size=64)
    embedding, features = made.model.item_embedding, made.model.features
    content = embedding.content["text"](features.vectors("text"))[1:]
    assert 0.5 < (content.std() / embedding.id.weight[1:].std()).item() < 2


def test_items_with_neither_id_nor_content_are_refused(toy: Any) -> None:
    with pytest.raises(InputError, match="use_item_id"):
        toy(use_item_id=False).new_model()
    text = {"item_text_table": make_table("item_text", ["i1", "i2"])}
    with pytest.raises(InputError, match="use_item_id"):
        toy(use_item_id=False, tables=text).new_model()
    toy(use_item_id=False, tables=text, encoder_content=True).new_model()
