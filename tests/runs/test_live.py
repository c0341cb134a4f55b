"""Log lines, bar and scalars: the same events in the log, on a terminal, in RecBole's writers."""

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import make_table, sequences
from ur4rec_recbole.monitoring.observers import ToScalars
from ur4rec_recbole.runs.live import LINES, Bar, EpochLog, announce, duration
from ur4rec_recbole.training.watched import _NoScalars

ROW = {"stage_epoch": 1, "seconds": 2.0, "seconds_per_step": 0.5, "loss": 3.25, "hit@10": 0.125}
END = {"stage": "pretrain_sasrec", "seconds": 2.0, "best_epoch": 1}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(log: EpochLog, caplog: pytest.LogCaptureFixture, epochs: int, done: int = 0) -> Any:
    """Return what a log says of a stage's epochs."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        log.stage_begins("a", epochs, 2, done)
        for epoch in range(done + 1, epochs + 1):
            log.epoch_ends(ROW | {"stage_epoch": epoch})
    return caplog.messages


def test_an_epoch_is_a_line_with_the_time_left_for_all_stages(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 30.0, 60.0, 90.0])
    monkeypatch.setattr("ur4rec_recbole.runs.live.time.perf_counter", lambda: next(clock))
    lines = lines_of(EpochLog([("a", 3), ("b", 7)]), caplog, 3)
    assert lines[0] == (
        "a epoch 1/3  loss 3.2500  HR@10 0.1250 best 0.1250  30.0 s, at most 4 min left"
    )
    assert lines[2].endswith("at most 4 min left")  # seven epochs of the next stage


def test_many_epochs_take_few_lines_the_first_of_a_stage_among_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = EpochLog([("a", 100), ("b", 200)])
    lines = lines_of(log, caplog, 100)
    assert [line.split("/")[0] for line in lines[:3]] == ["a epoch 1", "a epoch 12", "a epoch 24"]
    lines += lines_of(log, caplog, 200, done=99)
    assert "epoch 100/200" in caplog.messages[0]
    assert len(lines) <= LINES + 2


def test_an_epoch_that_is_not_validated_shows_no_metric(caplog: pytest.LogCaptureFixture) -> None:
    log = EpochLog([("a", 1)], "NDCG@10")
    with caplog.at_level(logging.INFO):
        log.stage_begins("a", 1, 2, 0)
        log.epoch_ends({"stage_epoch": 1, "seconds": 2.0, "loss": 3.25})
    assert caplog.messages[0].startswith("a epoch 1/1  loss 3.2500  not validated  0.0 s")


def test_a_run_without_hr_at_10_is_shown_by_its_own_metric(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = EpochLog([("a", 2)], metric="AveragePopularity@5", bigger=False)
    with caplog.at_level(logging.INFO):
        log.stage_begins("a", 2, 2, 0)
        for epoch, score in ((1, 8.0), (2, 9.0)):
            row = {key: value for key, value in ROW.items() if key != "hit@10"}
            log.epoch_ends(row | {"stage_epoch": epoch, "valid_score": score})
    assert "AveragePopularity@5 9.0000 best 8.0000" in caplog.messages[1]
    assert "HR@10" not in caplog.text


def test_the_start_says_what_is_trained_and_that_a_key_has_no_effect(
    toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    both = [{"name": "pretrain_sasrec", "epochs": 2}, {"name": "end_to_end", "epochs": 3}]
    folder = SimpleNamespace(path="runs/a")
    for stages, unused in ((both, True), ([both[0], "end_to_end"], False)):
        made = toy(stages=stages, epochs=7)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            announce(made.new_trainer(), folder, made.train)
        assert "UR4Rec on toy: 10 users, 20 items; " in caplog.text
        assert (
            f"epochs, at most: pretrain_sasrec 2, end_to_end {3 if unused else 7};" in caplog.text
        )
        assert "run folder: runs/a" in caplog.text
        assert ("epochs: 7 has no effect" in caplog.text) == unused


def test_times_are_said_in_their_own_unit() -> None:
    assert [duration(each) for each in (5, 90, 150, 7200)] == ["5 s", "90 s", "2 min", "2.0 h"]


def play(bar: Bar, done: int = 0) -> None:
    """Tell a bar of two steps and an epoch."""
    bar.console.width = 200
    bar.stage_begins("pretrain_sasrec", 3, 2, done)
    bar.step(lambda: {"sequence": 3.5}, 0.5)
    bar.read = 0.0  # losses are read a few times a second
    bar.step(lambda: {"sequence": 3.0}, 0.5)
    assert bar.progress
    bar.progress.refresh()  # it redraws a few times a second
    bar.epoch_ends(ROW | {"stage_epoch": done + 1})


def test_the_log_writes_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    bar = Bar(screen)
    bar.stage_begins("pretrain_sasrec", 3, 2, 0)
    assert handler.stream is not screen
    logging.getLogger().error("a line")
    bar.close()
    assert handler.stream is screen
    assert "a line" in screen.getvalue()


def test_a_bar_shows_step_losses_and_speed_and_leaves_nothing_behind() -> None:
    stream = Terminal()
    bar = Bar(stream)
    play(bar)
    text = stream.getvalue()
    assert "epoch 1/3" in text and "step 2/6" in text
    assert "sequence 3.000  0.500 s/it" in text
    bar.stage_ends(END)
    bar.close()
    assert "\x1b[2K" in stream.getvalue().rpartition("score")[2]  # the line is erased


def test_the_bar_of_a_resumed_stage_goes_on_where_it_was() -> None:
    stream = Terminal()
    bar = Bar(stream)
    play(bar, done=1)
    bar.close()
    assert "epoch 2/3" in stream.getvalue()
    assert "step 4/6" in stream.getvalue()


class Writer:
    """Stands for TensorBoard's and W&B's writers."""

    def __init__(self) -> None:
        self.scalars: dict[str, list[float]] = {}
        self.histograms: set[str] = set()
        self.logged: list[dict[str, float]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.setdefault(name, []).append(value)

    def add_histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        self.histograms.add(name)

    def add_hparams(self, *_: Any) -> None:
        pass

    def log_eval_metrics(self, metrics: dict[str, float], head: str = "") -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], head: str = "") -> None:
        self.logged.append(metrics)


@pytest.fixture
def written(toy: Any) -> tuple[Writer, Any]:
    histories = sequences([14] * 12, n_items=400)
    items = sorted({item for history in histories.values() for item in history})
    made = toy(histories, {"item_text_table": make_table("item_text", items)})
    trainer, writer = made.new_trainer(), Writer()
    trainer.tensorboard, trainer.wandblogger = _NoScalars(writer), writer
    trainer.monitor.observers[:] = [ToScalars(writer, writer)]
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False, saved=False)
    return writer, trainer


def test_loss_parts_metrics_and_routes_reach_tensorboard_and_wandb(
    written: tuple[Writer, Any],
) -> None:
    writer, _ = written
    for name in ("pretrain_sasrec/sequence", "joint_finetune/fused", "end_to_end/hit@10",
                 "router/text", "sub_router/text/2"):  # fmt: skip
        assert name in writer.scalars, name
        assert any(name in each for each in writer.logged), name
    assert {"routes/modal", "routes/text"} <= writer.histograms
    assert not {"Loss/Train0", "Vaild_score"} & set(writer.scalars)  # they jump between stages
