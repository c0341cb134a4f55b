"""FeatureBank: which vectors a position may look at."""

from typing import Any

import torch

from tests import reference
from ur4rec_recbole.data.modalities import ItemFeatures, Modalities
from ur4rec_recbole.data.profiles import ProfileIndex
from ur4rec_recbole.model.features import STANDARD, FeatureBank

SEQ = torch.tensor([[2, 1, 3, 0], [3, 0, 0, 0]])
QUERY = torch.arange(4).expand(2, -1)
SNAPSHOTS = [(1, 1), (1, 3), (2, 2)]


def bank(text: bool = True, profile: bool = True) -> FeatureBank:
    items = {}
    if text:
        present = torch.tensor([False, True, False, True])
        items["text"] = ItemFeatures(torch.arange(8.0).view(4, 2), present)
    index = None
    if profile:
        keys = torch.tensor([u * 4 + n for u, n in SNAPSHOTS])
        index = ProfileIndex(torch.tensor([[0.0], [11.0], [13.0], [22.0]]), keys, 4)
    return FeatureBank(Modalities(items, index))


def test_a_position_sees_present_items_up_to_itself() -> None:
    context = bank().contexts(SEQ, QUERY, torch.tensor([1, 2]), QUERY + 1)["text"]
    assert context.mask[0].tolist() == [
        [False, False, False, False],  # item 2 has no text
        [False, True, False, False],
        [False, True, True, False],
        [False, True, True, False],  # padding is never seen
    ]
    assert context.tokens[0, 1].tolist() == [2.0, 3.0]
    assert context.tokens[0, 2].tolist() == [6.0, 7.0]
    assert context.mask[1, :, 1:].any() == torch.tensor(False)


def test_a_position_sees_its_own_newest_snapshot_alone() -> None:
    known = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    context = bank().contexts(SEQ, QUERY, torch.tensor([1, 2]), known)["profile"]
    vectors = {None: None, (1, 1): 11.0, (1, 3): 13.0, (2, 2): 22.0}
    for b, user in enumerate((1, 2)):
        for t in range(4):
            seen = context.tokens[b][context.mask[b, t]].flatten().tolist()
            best = reference.newest_snapshot(SNAPSHOTS, user, int(known[b, t]))
            assert seen == ([] if best is None else [vectors[best]])


def test_modalities_without_tables_are_masked_everywhere() -> None:
    found = bank(text=False, profile=False).contexts(SEQ, QUERY, torch.tensor([1, 2]), QUERY + 1)
    assert tuple(found) == STANDARD
    assert not any(context.mask.any() for context in found.values())
    assert all(context.mask.shape[:2] == (2, 4) for context in found.values())


def test_vectors_stay_out_of_the_checkpoint() -> None:
    assert not bank().state_dict()
    assert not list(bank().parameters())


def test_vectors_move_with_the_model() -> None:
    moved = bank().to(torch.float64)
    assert moved.vectors("text").dtype == torch.float64


def test_an_image_table_may_be_absent(toy: Any) -> None:
    made = toy()
    assert made.model.features.item_modalities == ()
    assert made.model.features.widths() == {"profile": 1, "text": 1, "image": 1}
