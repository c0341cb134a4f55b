"""The whole run: one command trains and prints the table, and real data teach something."""

import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config

from tests.conftest import SMALL, write_atomic_files
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.runs import keeping, quick_start
from ur4rec_recbole.runs.folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "run_recbole.py"
TINY = """
model: UR4Rec
dataset: ml-100k
item_text_table: dataset/{dataset}/item_text.npz
exclude_history: True
n_layers: 1
hidden_size: 16
inner_size: 32
expert_inner_size: 32
n_sub_experts: 2
n_proxy_tokens: 2
train_batch_size: 256
epochs: 1
"""


def command(*arguments: str, code: int = 0) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, timeout=900, env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + done.stderr


def table_rows(output: str) -> dict[tuple[str, str], list[float]]:
    """Read the lines of the final table."""
    found = {}
    for line in output.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] in ("valid", "test") and words[1] in protocols.PROTOCOLS:
            found[words[0], words[1]] = [float(word) for word in words[2:]]
    return found


def toy_files(folder: Path, n_items: int = 150) -> list[str]:
    """Write a toy data set and return the arguments that name it."""
    histories = {
        f"u{n}": [f"i{item}" for item in np.random.default_rng(n).permutation(n_items)[:12]]
        for n in range(40)
    }
    write_atomic_files(folder, histories)
    return ["--dataset=toy", f"--data_path={folder}", "--epochs=2", "--show_progress=False"]


def test_the_command_trains_ur4rec_on_ml100k_and_prints_all_protocols(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    output = command("--model=UR4Rec", "--config_files=tiny.yaml", "--topk=[5,10]")
    rows = table_rows(output)
    assert set(rows) == {(p, name) for p in ("valid", "test") for name in protocols.PROTOCOLS}
    assert all(0 <= value <= 1 for values in rows.values() for value in values)
    for part in ("valid", "test"):
        hits = [rows[part, name][1] for name in ("full", "full_masked", "uniform_99")]
        assert hits == sorted(hits)
        assert hits[2] > 0
    assert "UR4Rec on ml-100k, seed 2020" in output
    assert output.count("stage ") >= 4
    assert list((tmp_path / "runs").glob("UR4Rec-ml-100k-*/model.pth"))
    assert not (tmp_path / "saved").exists()


def test_a_log_is_short_and_says_what_begins_how_long_it_takes_and_what_comes_next(
    tmp_path: Path,
) -> None:
    small = [f"--{key}={value}" for key, value in SMALL.items() if key not in ("epochs", "state")]
    words = [*toy_files(tmp_path)[:2], *small, "--epochs=3", "--run_folder=run"]
    output = command("--model=UR4Rec", *words,
                     "--load_col={'inter':['user_id','item_id','timestamp']}")  # fmt: skip
    assert len(output.splitlines()) < 60
    assert "Warning" not in output and "ModuleList" not in output and "topk" not in output
    lines = [line.partition("INFO")[2].strip() for line in output.splitlines()]
    assert any(line.startswith("UR4Rec on toy: 40 users, ") for line in lines[:20])
    epochs = [line for line in lines if "  loss " in line]
    assert [line.split("/")[0].split()[-1] for line in epochs] == ["1", "2", "3"] * 4
    assert all(" left" in line for line in epochs)
    losses = [float(line.partition("loss ")[2].split()[0]) for line in epochs]
    assert losses == pytest.approx(
        [row["loss"] for row in RunFolder.open("run").epochs()], abs=1e-4
    )
    assert "\ncheckpoint: run/model.pth\nnext: ur4rec report run" in output[-100:]
    assert RunFolder.open("run").about["config"]["topk"]["value"] == [5, 10]


def test_the_command_trains_another_model_of_recbole(tmp_path: Path) -> None:
    output = command("--model=SASRec", *toy_files(tmp_path), "--train_neg_sample_args=None",
                     "--load_col={'inter':['user_id','item_id','timestamp']}")  # fmt: skip
    assert len(output.splitlines()) < 40
    assert "training epoch 2/2  loss " in output and "Warning" not in output
    assert set(table_rows(output)) == {
        (part, name) for part in ("valid", "test") for name in protocols.PROTOCOLS
    }
    assert "SASRec on toy" in output


@pytest.fixture
def argv() -> Any:
    """Run the command in this process."""

    def run(*arguments: str) -> int:
        return main(["train", *arguments])

    return run


@pytest.mark.parametrize("model", ["ItemTransition", "SequentialEASE", "Pop"])
def test_every_model_takes_a_run_folder(tmp_path: Path, argv: Any, model: str) -> None:
    run = tmp_path / "run"
    words = [*toy_files(tmp_path), "--state=ERROR", f"--checkpoint_dir={tmp_path / 'saved'}"]
    words += ["--eval_args={'split':{'LS':'valid_and_test'},'order':'TO'}"]
    words += ["--load_col={'inter':['user_id','item_id','timestamp']}"]
    assert argv(f"--model={model}", f"--run_folder={run}", *words) == 0
    assert RunFolder.open(run).about["status"] == "done"
    assert "full_masked" in RunFolder.open(run).read("metrics.json")["test"]


def test_a_checkpoint_on_another_disk_is_whole_or_absent(
    tmp_path: Path, argv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError("no links to another disk")

    def broken(source: Any, copy: Any) -> None:
        copy.write(source.read(100))
        raise OSError("the disk is full")

    monkeypatch.setattr("os.link", refused)
    place = tmp_path / "saved"
    words = [*toy_files(tmp_path), "--state=ERROR", f"--checkpoint_dir={place}", "--model=Pop"]
    assert argv(*words) == 0
    assert len(list(place.glob("*.pth"))) == 1
    monkeypatch.setattr("shutil.copyfileobj", broken)
    with suppress(OSError):
        argv(*words)
    assert len(list(place.glob("*.pth"))) == 1


def test_a_folder_that_cannot_be_locked_is_refused(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path / "run", toy().config)
    (folder.path / ".lock").mkdir()
    with (
        pytest.raises(InputError, match="must be a folder that can be written to"),
        keeping.only_writer(folder),
    ):
        pass


def test_an_unknown_key_on_the_command_line_exits_with_2(tmp_path: Path) -> None:
    output = command("--model=UR4Rec", "--dataset=ml-100k", "--hiden_size=32", code=2)
    assert "ur4rec train: Configuration key 'hiden_size'" in output
    assert "Did you mean 'hidden_size'?" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--n_layers=two", "'n_layers' must be int"),
        ("--norm_first=1", "'norm_first' must be bool"),
        ("--train_neg_sample_args={'distribution':'uniform','sample_num':3}", "num_negatives"),
        ("--item_text_table=nowhere.npz", "nowhere.npz must be a feature table file"),
        ("--fusion=sum", "fusion"),
        ("--config_files=nowhere.yaml", "config_files: nowhere.yaml must be a file"),
        ("--stages=['pretrain']", "stages: name must be one of"),
        ("--checkpoint_dir=/dev/null/saved", "checkpoint_dir /dev/null/saved must be a folder"),
    ],
)
def test_bad_input_is_a_message_and_exit_code_2(
    argv: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    arguments = toy_files(tmp_path)
    load = "--load_col={'inter':['user_id','item_id','timestamp']}"
    assert argv("--model=UR4Rec", *arguments, load, argument) == 2
    error = capsys.readouterr().err
    assert error.startswith("ur4rec train: ")
    assert message in error
    assert not Path("runs").exists()


def run_toy(folder: Path, model: str = "UR4Rec", **settings: Any) -> dict[str, Any]:
    toy_files(folder)
    own = dict(SMALL) if model == "UR4Rec" else {"epochs": 1, "show_progress": False}
    values = own | {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }
    return quick_start.run(model, "toy", config_dict=values | settings)


def test_a_run_returns_metrics_by_protocol_and_the_file_that_gave_them(tmp_path: Path) -> None:
    result = run_toy(tmp_path)
    assert set(result["valid"]) == set(result["test"]) == set(protocols.PROTOCOLS)
    assert Path(result["model_file"]).is_file()
    assert result["best_valid_score"] == pytest.approx(result["valid"]["full"]["ndcg@10"])


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    settings = {"hidden_dropout_prob": 0.3, "enable_amp": True}
    first, second = run_toy(tmp_path, **settings), run_toy(tmp_path, **settings)
    assert first["test"] == second["test"]
    assert first["valid"] == second["valid"]


def test_a_split_with_several_targets_a_user_ends_with_recboles_test_result(tmp_path: Path) -> None:
    split = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO"}
    result = run_toy(tmp_path, eval_args=split)
    assert "test" not in result
    assert 0 <= result["test_result"]["hit@10"] <= 1
    metrics = RunFolder.open(result["run_folder"]).read("metrics.json")
    assert metrics["test"]["recbole"] == result["test_result"]
    assert metrics["valid"]["recbole"]["ndcg@10"] == pytest.approx(result["best_valid_score"])


@pytest.mark.parametrize("model", ["UR4Rec", "BPR"])
def test_a_run_without_validation_or_test_rows_ends_well(tmp_path: Path, model: str) -> None:
    split = {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO"}
    result = run_toy(tmp_path, model, eval_args=split)
    assert result["test_result"] == {}
    assert RunFolder.open(result["run_folder"]).about["status"] == "done"
    epochs = 4 if model == "UR4Rec" else 0  # RecBole tells of validated epochs alone
    assert len(RunFolder.open(result["run_folder"]).epochs()) == epochs


def test_a_general_model_runs(tmp_path: Path) -> None:
    split = {"split": {"LS": "valid_and_test"}, "order": "TO"}
    result = run_toy(tmp_path, "BPR", eval_args=split)
    assert set(result["test"]) == set(protocols.PROTOCOLS)


def test_an_unknown_key_of_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'epoch'"):
        run_toy(tmp_path, epoch=3)


def popularity(parts: tuple[UR4RecDataset, ...], config: Config) -> dict[str, dict[str, float]]:
    """Evaluate ranking by the number of training interactions."""
    train, valid, _ = parts
    rows = torch.from_numpy(train.seen_rows())
    counts = Counter(train.interactions["item_id"][rows].tolist())
    scores = torch.tensor([float(counts[item]) for item in range(train.item_num)])

    class Popularity(torch.nn.Module):
        def full_sort_predict(self, interaction: Any) -> torch.Tensor:
            return scores.expand(len(interaction), -1)

    return protocols.evaluate(Popularity(), valid, config)


def test_a_small_model_learns_clearly_more_than_popularity_from_ml100k(
    ml100k: tuple[UR4RecDataset, ...],
) -> None:
    settings = {
        "hidden_size": 32, "inner_size": 64, "n_layers": 1, "n_heads": 1, "exclude_history": True,
        "learning_rate": 0.005, "train_batch_size": 64, "hidden_dropout_prob": 0.2,
        "attn_dropout_prob": 0.2, "stages": [{"name": "pretrain_sasrec", "epochs": 10}],
    }  # fmt: skip
    result = quick_start.run("UR4Rec", "ml-100k", config_dict=settings)
    config = Config("UR4Rec", "ml-100k", config_dict={"state": "ERROR"})
    floor = popularity(ml100k, config)["full_masked"]["hit@10"]
    assert floor > 0.05
    assert result["valid"]["full_masked"]["hit@10"] > 1.4 * floor


def test_the_table_has_a_dash_where_a_protocol_cannot_have_a_metric() -> None:
    full, sampled = {"hit@10": 0.5, "averagepopularity@10": 12.0}, {"hit@10": 0.75}
    both = {"full": full, "uniform_99": sampled}
    head, *rows = quick_start.table({"valid": both, "test": both}).splitlines()
    assert head.split() == ["part", "protocol", "hit@10", "averagepopularity@10"]
    assert rows[1].split() == ["valid", "uniform_99", "0.7500", "-"]
    assert len({len(row) for row in (head, *rows)}) == 1
