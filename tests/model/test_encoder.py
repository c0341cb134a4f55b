"""SequenceEncoder: RecBole's SASRec, with a state at every position."""

from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.model.sequential_recommender import SASRec

from tests import reference
from ur4rec_recbole.model.attention import BlockConfig
from ur4rec_recbole.model.encoder import SequenceEncoder
from ur4rec_recbole.model.positions import Positions


def sasrec_for(dataset: Any, name: str, **settings: Any) -> SASRec:
    values = {"train_neg_sample_args": None, "state": "ERROR", "initializer_range": 0.2} | settings
    config = Config(model="SASRec", dataset=name, config_dict=values)
    return SASRec(config, dataset).eval()


def twin(sasrec: SASRec) -> tuple[torch.nn.Embedding, SequenceEncoder]:
    """Our encoder and item embeddings with the weights of a SASRec."""
    block = BlockConfig(
        sasrec.hidden_size,
        sasrec.n_heads,
        sasrec.inner_size,
        sasrec.hidden_dropout_prob,
        sasrec.attn_dropout_prob,
        sasrec.hidden_act,
        float(sasrec.layer_norm_eps),
    )
    holder = torch.nn.Module()
    holder.item_embedding = torch.nn.Module()
    holder.item_embedding.id = torch.nn.Embedding(sasrec.n_items, sasrec.hidden_size)
    holder.encoder = SequenceEncoder(sasrec.n_layers, sasrec.max_seq_length, block)
    reference.copy_sasrec(sasrec, holder)
    return holder.item_embedding.id, holder.eval().encoder


@pytest.fixture(scope="module")
def rows(ml100k: tuple[Any, ...]) -> Any:
    part = ml100k[1]
    return part[np.arange(0, len(part), 4)]


@pytest.mark.parametrize("act", ["gelu", "relu", "swish"])
@torch.no_grad()
def test_last_states_on_ml100k_equal_recboles_sasrec(
    ml100k: tuple[Any, ...], rows: Any, act: str
) -> None:
    sasrec = sasrec_for(ml100k[0], "ml-100k", hidden_act=act, n_layers=3, n_heads=4)
    embedding, encoder = twin(sasrec)
    seq, length = rows["item_id_list"], rows["item_length"]
    assert length.min() < 20
    assert length.max() == 50
    where = seq > 0
    states = encoder(embedding(seq[where]), Positions(where))
    last = states[(length.cumsum(0) - 1)]
    assert torch.allclose(last, sasrec(seq, length), atol=1e-5)


@torch.no_grad()
def test_every_state_equals_sasrec_on_the_history_up_to_there(
    ml100k: tuple[Any, ...], rows: Any
) -> None:
    sasrec = sasrec_for(ml100k[0], "ml-100k")
    embedding, encoder = twin(sasrec)
    seq = rows["item_id_list"][:3]
    where = seq > 0
    states = encoder(embedding(seq[where]), Positions(where))
    expected = []
    for row, length in zip(seq, where.sum(1).tolist(), strict=True):
        lengths = torch.arange(1, length + 1)
        prefixes = row * (torch.arange(seq.shape[1]) < lengths.unsqueeze(1))
        expected.append(sasrec(prefixes, lengths))
    assert torch.allclose(states, torch.cat(expected), atol=1e-5)


def test_gradients_equal_recboles_sasrec(ml100k: tuple[Any, ...], rows: Any) -> None:
    sasrec = sasrec_for(ml100k[0], "ml-100k")
    embedding, encoder = twin(sasrec)
    seq, length = rows["item_id_list"][:30], rows["item_length"][:30]
    direction = torch.randn(30, sasrec.hidden_size)
    where = seq > 0
    states = encoder(embedding(seq[where]), Positions(where))[length.cumsum(0) - 1]
    (states * direction).sum().backward()
    (sasrec(seq, length) * direction).sum().backward()
    assert torch.allclose(
        embedding.weight.grad[1:], sasrec.item_embedding.weight.grad[1:], atol=1e-4
    )
    assert torch.allclose(
        encoder.position_embedding.weight.grad, sasrec.position_embedding.weight.grad, atol=1e-4
    )


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("times", [False, True])
@torch.no_grad()
def test_the_last_states_alone_are_those_of_all(
    n_layers: int, norm_first: bool, times: bool
) -> None:
    torch.manual_seed(1)
    block = BlockConfig(8, 2, 16, 0.0, 0.0, norm_first=norm_first)
    encoder = SequenceEncoder(n_layers, 6, block, times, times).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    where = torch.arange(6) < torch.tensor([[6], [1], [4]])
    items = torch.randn(int(where.sum()), 8)
    seconds = torch.rand(3, 6, dtype=torch.float64).cumsum(1).mul(1e4) * where
    given = (items, Positions(where), seconds, seconds + 1e5)
    expected = encoder(*given)[where.sum(1).cumsum(0) - 1]
    torch.testing.assert_close(encoder(*given, last_only=True), expected, rtol=1e-5, atol=1e-5)


def test_pre_norm_ends_with_a_norm() -> None:
    block = BlockConfig(8, 2, 16, 0.0, 0.0, norm_first=True)
    encoder = SequenceEncoder(2, 5, block)
    where = torch.ones(1, 5, dtype=torch.bool)
    states = encoder(10 * torch.randn(5, 8), Positions(where))
    assert torch.allclose(states.mean(-1), torch.zeros(5), atol=1e-5)
    assert torch.allclose(states.std(-1, unbiased=False), torch.ones(5), atol=1e-3)


def test_order_matters() -> None:
    encoder = SequenceEncoder(1, 5, BlockConfig(8, 2, 16, 0.0, 0.0)).eval()
    torch.nn.init.normal_(encoder.position_embedding.weight)
    where = Positions(torch.ones(1, 3, dtype=torch.bool))
    items = torch.randn(3, 8)
    swapped = items[[1, 0, 2]]
    assert not torch.allclose(encoder(items, where)[2], encoder(swapped, where)[2], atol=1e-3)
