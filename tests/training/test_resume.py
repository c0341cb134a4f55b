"""Resume: a run killed at any moment ends with the same weights as one that was not."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from tests.killing import die, dying_at
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock
from ur4rec_recbole.monitoring.monitor import Monitor
from ur4rec_recbole.runs import quick_start, resuming
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.training import resume
from ur4rec_recbole.training.trainer import UR4RecTrainer

STEPS = 3  # of an epoch: twelve users' three windows each, in batches of 16
HISTORIES = sequences([14] * 12, n_items=400)  # enough items for 99 unseen candidates
EPOCHS = 3
STAGES = ("pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end")


def settings(folder: Path, run: str) -> dict[str, Any]:
    write_atomic_files(folder, HISTORIES)
    text = folder / "text.npz"
    make_table(
        "item_text", sorted({item for items in HISTORIES.values() for item in items}), 6, 1
    ).save(text)
    return SMALL | {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "item_text_table": str(text),
        "train_batch_size": 16,
        "epochs": EPOCHS,
        "stopping_step": 2,
        "learning_rate": 0.01,
        "hidden_dropout_prob": 0.3,
        "expert_dropout_prob": 0.3,
        "router_noise": 0.1,
        "checkpoint_dir": str(folder / "saved"),
        "run_folder": str(folder / run),
        "milestones": {"toy": dict.fromkeys(STAGES, 1.0)},  # findings at every stage's end
    }


def train_and_die(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: Any) -> None:
    die(lambda: quick_start.run("UR4Rec", "toy", config_dict=values), monkeypatch, where)


def at_step(count: int) -> Any:
    """Kill in the middle of the count-th step of the run."""
    return dying_at(Monitor, "step", count)


def at_stage_end(stage: str, written: bool = False) -> Any:
    """Kill where a stage has handed its weights on, before or after its end is written."""

    def arm(monkeypatch: pytest.MonkeyPatch) -> None:
        ends = Monitor.stage_ends

        def dying(self: Any, summary: dict[str, Any], hit: float | None) -> None:
            if written:
                ends(self, summary, hit)
            if summary["stage"] == stage:
                os.kill(os.getpid(), signal.SIGKILL)
            if not written:
                ends(self, summary, hit)

        monkeypatch.setattr(Monitor, "stage_ends", dying)

    return arm


def while_saving(count: int) -> Any:
    """Kill in the middle of writing the count-th checkpoint."""

    def arm(monkeypatch: pytest.MonkeyPatch) -> None:
        done, write = 0, torch.save

        def dying(state: Any, file: Any, **options: Any) -> None:
            nonlocal done
            if "random" in state:
                done += 1
                if done == count:
                    file.write(b"half a checkpoint")
                    file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
            write(state, file, **options)

        monkeypatch.setattr(resume.torch, "save", dying)

    return arm


def final(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "4-end_to_end.pth", weights_only=True)


LOSSES = ("epoch", "stage", "loss", "ndcg@10")


def losses(folder: Path) -> list[dict[str, Any]]:
    rows = RunFolder.open(folder).epochs()
    return [{key: row[key] for key in LOSSES} for row in rows]


def found_in(folder: Path) -> list[tuple[str, str]]:
    """Return findings but those that depend on the machine's other work."""
    rows = RunFolder.open(folder).findings()
    return [(row["name"], row["stage"]) for row in rows if row["name"] != "slow_steps"]


@pytest.mark.parametrize(
    "where",
    [
        at_step(1),
        at_step(STEPS + 1),
        at_step(2 * STEPS + 2),
        while_saving(2),
        at_stage_end("pretrain_sasrec"),
        at_step((EPOCHS + 1) * STEPS + 2),
        while_saving(2 * EPOCHS + 1),
        at_stage_end("pretrain_retriever", written=True),
        at_stage_end("end_to_end"),
    ],
)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    whole = settings(tmp_path, "whole")
    expected = quick_start.run("UR4Rec", "toy", config_dict=whole)
    killed = tmp_path / "killed"
    train_and_die(whole | {"run_folder": str(killed)}, monkeypatch, where)
    assert RunFolder.open(killed).about["status"] == "running"
    found = quick_start.run(resume=str(killed))
    left, right = final(tmp_path / "whole"), final(killed)
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[key]) for key, value in left.items())
    assert found["test"] == expected["test"]
    assert losses(killed) == losses(tmp_path / "whole")
    stages = RunFolder.open(killed).read("stages.json")
    assert [each["stage"] for each in stages] == list(STAGES)
    assert found_in(killed) == found_in(tmp_path / "whole") != []
    assert RunFolder.open(killed).about["status"] == "done"


def test_what_a_stage_began_with_is_written_once_and_is_not_in_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], resume.save_weights

    def counting(trainer: Any, index: int) -> None:
        written.append(index)
        write(trainer, index)

    monkeypatch.setattr(resume, "save_weights", counting)
    quick_start.run("UR4Rec", "toy", config_dict=settings(tmp_path, "run"))
    assert written == [0, 1, 2, 3, 4]
    state = resume.load(tmp_path / "run", "cpu")
    assert state and [key for key, value in state.items() if _has_weights(value)] == [
        "_best_state", "model",
    ]  # fmt: skip


def _has_weights(value: Any) -> bool:
    return isinstance(value, dict) and "item_embedding.id.weight" in value


def test_a_run_killed_twice_resumes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = settings(tmp_path, "whole")
    quick_start.run("UR4Rec", "toy", config_dict=whole)
    killed = whole | {"run_folder": str(tmp_path / "killed")}
    train_and_die(killed, monkeypatch, at_step(STEPS + 1))
    again = at_step(EPOCHS * STEPS + 1)
    die(lambda: quick_start.run(resume=killed["run_folder"]), monkeypatch, again)
    quick_start.run(resume=killed["run_folder"])
    left, right = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert all(torch.equal(value, right[key]) for key, value in left.items())


def test_a_run_killed_where_a_stage_ends_between_validations_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = settings(tmp_path, "whole") | {"eval_step": 2, "stages": [*STAGES[:2]]}
    expected = quick_start.run("UR4Rec", "toy", config_dict=whole)
    killed = whole | {"run_folder": str(tmp_path / "killed")}
    train_and_die(killed, monkeypatch, dying_at(UR4RecTrainer, "_end", 1))
    found = quick_start.run(resume=killed["run_folder"])
    last = "2-pretrain_retriever.pth"
    left, right = (
        torch.load(tmp_path / each / last, weights_only=True) for each in ("whole", "killed")
    )
    assert all(torch.equal(value, right[key]) for key, value in left.items())
    assert found["test"] == expected["test"]


def test_a_full_disk_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third checkpoint cannot be written: the second is there and the run can go on."""
    values = settings(tmp_path, "run")
    done, write = 0, torch.save

    def full(state: Any, file: Any, **options: Any) -> None:
        nonlocal done
        if "random" in state:
            done += 1
            if done == 3:
                file.write(b"half")
                raise OSError(28, "No space left on device")
        write(state, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(resume.torch, "save", full)
        with pytest.raises(InputError, match="No space.*Make room.*--resume"):
            quick_start.run("UR4Rec", "toy", config_dict=values)
    folder = RunFolder.open(tmp_path / "run")
    assert folder.about["status"] == "failed"
    state = resume.load(folder.path, "cpu")
    assert state and state["stage_epoch"] == 2
    assert not list(folder.path.glob(".resume*"))
    quick_start.run(resume=str(folder.path))
    assert RunFolder.open(folder.path).about["status"] == "done"


def test_too_small_a_disk_is_reported_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "size", lambda model, stages: 10**18)
    with pytest.raises(InputError, match="Make room"):
        quick_start.run("UR4Rec", "toy", config_dict=settings(tmp_path, "run"))
    assert RunFolder.open(tmp_path / "run").epochs() == []


def test_a_run_that_is_done_or_of_other_data_is_not_resumed(tmp_path: Path) -> None:
    values = settings(tmp_path, "run") | {"stages": ["pretrain_sasrec"]}
    quick_start.run("UR4Rec", "toy", config_dict=values)
    with pytest.raises(InputError, match="has not ended"):
        quick_start.run(resume=values["run_folder"])
    folder = RunFolder.open(values["run_folder"])
    folder.mark("failed")
    write_atomic_files(tmp_path, sequences([13] * 12, n_items=400))
    with pytest.raises(InputError, match="data set, exact times included, as it was: SHA-256"):
        quick_start.run(resume=values["run_folder"])


def test_a_run_that_still_runs_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = settings(tmp_path, "run")
    train_and_die(values, monkeypatch, at_step(STEPS + 1))
    folder = RunFolder.open(values["run_folder"])
    before = {file.name: file.read_bytes() for file in folder.path.iterdir()}
    with (
        exclusive_lock(folder.path / ".lock"),
        pytest.raises(InputError, match="that another process writes to"),
    ):
        quick_start.run(resume=values["run_folder"])
    assert {file.name: file.read_bytes() for file in folder.path.iterdir()} == before
    quick_start.run(resume=values["run_folder"])
    assert RunFolder.open(folder.path).about["status"] == "done"


def test_a_run_of_another_model_that_kept_no_state_is_not_resumed(toy: Any, tmp_path: Path) -> None:
    folder = RunFolder.create(
        tmp_path / "run", toy(model="SASRec", train_neg_sample_args=None).config
    )
    with pytest.raises(InputError, match="a run of UR4Rec, or one of RecBole"):
        resuming.interrupted(str(folder.path))


def test_a_damaged_checkpoint_is_a_message(tmp_path: Path) -> None:
    (tmp_path / resume.FILE).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="checkpoint of this package"):
        resume.load(tmp_path, "cpu")


def test_resume_stands_alone_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume=runs/x", "--epochs=3"]) == 2
    assert "must stand alone" in capsys.readouterr().err
    assert main(["train", "--resume", "runs/x"]) == 2
    assert "must hold a run.json" in capsys.readouterr().err
