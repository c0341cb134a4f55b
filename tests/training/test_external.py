"""Models of other libraries: the adapter gets the split, and its scores are the run's."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_atomic_files
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs import quick_start
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.training.environments import PLACE, python_with

# Scores best what came after the newest one most often in training.
ADAPTER = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
split = np.load(folder / "split.npz")
options = json.loads((folder / "options.json").read_text())
assert "test/targets" not in split.files
n = int(split["n_items"])
after = np.zeros((n, n), dtype=np.float32)
same = split["users"][1:] == split["users"][:-1]
np.add.at(after, (split["items"][:-1][same], split["items"][1:][same]), 1)
print("some library says hello")
for epoch in range(options["epochs"]):
    print(json.dumps({"epoch": epoch, "ndcg@10": 0.1 * (epoch + 1)}), flush=True)
for part in ("valid", "test"):
    newest = split[part + "/items"][split[part + "/bounds"][1:] - 1]
    np.save(folder / (part + ".npy"), after[newest])
"""


def run(folder: Path, code: str, **more: Any) -> Any:
    chain = [f"i{n}" for n in range(1, 13)]
    histories = {f"u{n}": chain[n % 3 : n % 3 + 8] for n in range(9)} | {"last": chain}
    write_atomic_files(folder, histories)
    (folder / "adapter.py").write_text(code)
    settings = {
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "adapter": str(folder / "adapter.py"), "adapter_options": {"epochs": 3}, "topk": [1, 5],
        "run_folder": str(folder / "run"), "valid_metric": "NDCG@5", "state": "ERROR",
    }  # fmt: skip
    return quick_start.run("External", "toy", None, settings | more)


def test_the_scores_of_an_adapter_are_ranked_by_our_evaluator(tmp_path: Path) -> None:
    result = run(tmp_path, ADAPTER)
    assert result.metrics["test"]["full"]["hit@1"] == pytest.approx(0.9)  # none has i12 in training
    rows = RunFolder.open(tmp_path / "run").epochs()
    assert [row["full_masked_ndcg@10"] for row in rows] == pytest.approx([0.1, 0.2, 0.3])
    assert result["best_valid_score"] == pytest.approx(0.3)


def test_an_adapter_is_found_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path, ADAPTER, adapter="adapter.py")
    assert result.metrics["test"]["full"]["hit@1"] == pytest.approx(0.9)


def test_a_folder_does_not_choose_what_is_executed(tmp_path: Path) -> None:
    run(tmp_path, ADAPTER)
    folder = RunFolder.open(tmp_path / "run")
    folder.mark("interrupted")
    (tmp_path / "run" / "resume.pth").touch()
    with pytest.raises(InputError, match="Start it again"):
        quick_start.run(resume=str(tmp_path / "run"))


def test_an_adapter_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 1:(.|\n)*no such luck"):
        run(tmp_path, "raise SystemError('no such luck')")


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (ADAPTER.replace("after[newest]", "after[newest][:, 1:]"), "scores of shape"),
        (ADAPTER.replace("after[newest]", "after[newest].astype(int)"), "must write float scores"),
    ],
)
def test_scores_of_another_shape_are_refused(tmp_path: Path, adapter: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path, adapter)


def test_a_missing_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="adapter must be a Python file"):
        run(tmp_path, ADAPTER, adapter="nowhere.py")


def test_such_a_model_scores_no_other_rows(tmp_path: Path) -> None:
    result = run(tmp_path, ADAPTER)
    result.model.ends = result.model.ends[:0]
    with pytest.raises(InputError, match="knows the rows of the run"):
        result.model.full_sort_predict({})


def test_an_environment_that_cannot_be_made_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path))
    assert python_with([]).exists()
    (tmp_path / "made-1.0" / "bin").mkdir(parents=True)
    (tmp_path / "made-1.0" / "ready").touch()
    assert python_with(["made==1.0"]) == tmp_path / "made-1.0" / "bin" / "python"
    monkeypatch.setattr("subprocess.run", lambda *_, **__: Failed())
    with pytest.raises(InputError, match="adapter_requirements must be packages"):
        python_with(["other"])


class Failed:
    """A command that found no such package."""

    returncode, stderr = 1, "no such package"
