"""sparse_graphs: RecBole's graph models train with today's scipy."""

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from scipy.sparse import dok_matrix

from tests.conftest import sequences, write_atomic_files
from ur4rec_recbole.patches import sparse_graphs

OF_INTERACTIONS = ("LightGCN", "NGCF", "SpectralCF", "GCMC")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    write_atomic_files(tmp_path, sequences())
    folder = tmp_path / "toy"
    links = [f"i{item}\te{item}" for item in range(1, 21)]
    facts = [f"e{item}\tis_like\te{item % 20 + 1}" for item in range(1, 21)]
    (folder / "toy.link").write_text("item_id:token\tentity_id:token\n" + "\n".join(links))
    (folder / "toy.kg").write_text(
        "head_id:token\trelation_id:token\ttail_id:token\n" + "\n".join(facts)
    )
    return {
        "data_path": str(tmp_path), "epochs": 1, "train_batch_size": 64, "state": "ERROR",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "num_clusters": 3,
    }  # fmt: skip


@pytest.mark.parametrize("model", OF_INTERACTIONS)
def test_a_graph_model_trains(model: str, settings: dict[str, Any]) -> None:
    result = run_recbole(model, "toy", config_dict=settings, saved=False)
    assert 0 <= result["test_result"]["recall@10"] <= 1


@pytest.mark.parametrize("model", ["NCL", "KGIN", "MCCLK"])
def test_a_graph_model_that_needs_more_is_built(model: str, settings: dict[str, Any]) -> None:
    """Training needs faiss or torch_scatter, which RecBole does not require."""
    if model != "NCL":
        settings["load_col"] |= {
            "kg": ["head_id", "relation_id", "tail_id"],
            "link": ["item_id", "entity_id"],
        }
    config = Config(model, "toy", config_dict=settings)
    dataset = create_dataset(config)
    dataset._change_feat_format()
    built = get_model(model)(config, dataset)
    values = [
        getattr(built, name, None) for name in ("norm_adj_mat", "interact_mat", "inter_matrix")
    ]
    (graph,) = (each for each in values if isinstance(each, torch.Tensor))
    edges = 2 if model == "NCL" else 1  # both ways, or from user to item
    assert graph.coalesce().values().numel() == edges * len(dataset)


def test_entries_stand_where_they_are_put() -> None:
    matrix = dok_matrix((2, 3), dtype="float32")
    matrix._update({(0, 1): 1, (1, 2): 2})
    assert matrix.toarray().tolist() == [[0, 1, 0], [0, 0, 2]]
    assert matrix.tocsr().dtype == "float32"


def test_an_update_of_scipys_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.nn.Identity()
    monkeypatch.setattr(dok_matrix, "_update", own)
    sparse_graphs.apply()
    assert dok_matrix._update is own
