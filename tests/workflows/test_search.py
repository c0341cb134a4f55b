"""objective_function and HyperTuning: exhaustive, random and Bayesian search."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import write_atomic_files
from tests.workflows.conftest import fresh

SEARCH = """
import numpy as np
from recbole.quick_start import objective_function
from recbole.trainer import HyperTuning

found = {"one": objective_function({"learning_rate": 0.01}, given["files"])["model"]}
for algorithm in ("exhaustive", "random", "bayes"):
    search = HyperTuning(
        objective_function, algo=algorithm, early_stop=10, max_evals=2,
        params_dict={"choice": {"learning_rate": [0.01, 0.001], "stages": ["['end_to_end']"]}},
        fixed_config_file_list=given["files"],
    )
    search.run()
    found[algorithm] = [len(search.params2result), search.best_params["learning_rate"]]
search.export_result("found.txt")
"""


def test_searches_find_a_learning_rate(folder: Path, settings: dict[str, Any]) -> None:
    pytest.importorskip("hyperopt")
    given = settings | {"model": "UR4Rec", "dataset": "toy"}
    (folder / "toy.yaml").write_text(yaml.safe_dump(given))
    found = fresh(SEARCH, {"files": ["toy.yaml"]}, folder)
    assert found.pop("one") == "UR4Rec"
    assert found["exhaustive"][0] == 2
    for tried, best in found.values():
        assert 1 <= tried <= 2
        assert best in (0.01, 0.001)
    assert "learning_rate" in (folder / "found.txt").read_text()


SIGNIFICANCE = """
from recbole.quick_start import run_recbole
from scipy.stats import ttest_rel

measured = {
    model: [run_recbole(model, "ring", config_dict=settings | {"seed": seed}, saved=False)
            ["test_result"]["hit@5"] for seed in (1, 2, 3)]
    for model, settings in given.items()
}
found = {kind: float(ttest_rel(measured["UR4Rec"], measured["Pop"], alternative=kind).pvalue)
         for kind in ("less", "greater")}
"""


def test_a_clear_win_is_significant_by_the_greater_alternative(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """RecBole's script asks whether ours is less than the baseline: a win gives it p near 1."""
    ring = {f"u{n}": [f"i{(n + k) % 20}" for k in range(9)] for n in range(40)}
    write_atomic_files(tmp_path, ring, name="ring")
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
    shared = {
        "data_path": str(tmp_path), "load_col": settings["load_col"], "topk": [5],
        "valid_metric": "Hit@5", "metrics": ["Hit"], "eval_args": split, "state": "ERROR",
    }  # fmt: skip
    ours = settings | shared | {"stages": ["pretrain_sasrec"], "epochs": 8}
    found = fresh(SIGNIFICANCE, {"UR4Rec": ours, "Pop": shared | {"epochs": 1}}, tmp_path)
    assert found["less"] > 0.95
    assert found["greater"] < 0.05
