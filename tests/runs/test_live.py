"""LiveView and scalars: the same events on a terminal, in plain lines and in RecBole's writers."""

import io
import logging
from typing import Any

import pytest
import torch

from tests.conftest import make_table, sequences
from ur4rec_recbole.monitoring.findings import Finding
from ur4rec_recbole.monitoring.observers import ToScalars
from ur4rec_recbole.runs.live import LiveView

ROW = {"stage_epoch": 1, "seconds": 2.0, "seconds_per_step": 0.5, "loss": 3.25, "hit@10": 0.125}
END = {"stage": "pretrain_sasrec", "seconds": 2.0, "best_epoch": 1}


@pytest.fixture(autouse=True)
def _silent_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    logging.getLogger().manager._clear_cache()


def play(view: LiveView) -> None:
    """Tell a view of two steps, an epoch, a finding and a stage's end."""
    view.stage_begins("pretrain_sasrec", 3, 2, 0)
    view.step(lambda: {"sequence": 3.5}, 0.5)
    view.read = 0.0  # losses are read a few times a second
    view.step(lambda: {"sequence": 3.0}, 0.5)
    if view.progress:
        view.progress.refresh()  # it redraws a few times a second
    view.epoch_ends(dict(ROW))
    view.found(Finding("overfitting", "1 [a]", "Cause.", "Advice."))
    view.stage_ends(END)
    view.close()


def test_without_a_terminal_every_epoch_is_a_plain_line() -> None:
    stream = io.StringIO()
    play(LiveView(stream))
    assert stream.getvalue().splitlines() == [
        "pretrain_sasrec epoch 1/3  loss 3.2500  0.500 s/it  at most 4 s left  "
        "HR@10 0.1250 best 0.1250",
        "! overfitting: 1 [a]. Cause. Advice.",
        "pretrain_sasrec done: 2 s, best epoch 1, HR@10 0.1250 best 0.1250",
    ]


def test_a_finding_that_the_log_has_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
    logging.getLogger().manager._clear_cache()
    stream = io.StringIO()
    play(LiveView(stream))
    assert "!" not in stream.getvalue()


def test_a_run_without_hr_at_10_is_shown_by_its_own_metric() -> None:
    stream = io.StringIO()
    view = LiveView(stream, metric="AveragePopularity@5", bigger=False)
    view.stage_begins("end_to_end", 2, 2, 0)
    for epoch, score in ((1, 8.0), (2, 9.0)):
        row = {key: value for key, value in ROW.items() if key != "hit@10"}
        view.epoch_ends(row | {"stage_epoch": epoch, "valid_score": score})
    assert "AveragePopularity@5 9.0000 best 8.0000" in stream.getvalue()
    assert "HR@10" not in stream.getvalue()


def test_the_log_writes_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, log = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", log)
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    view = LiveView(screen, terminal=True)
    view.stage_begins("pretrain_sasrec", 3, 2, 0)
    logging.getLogger().error("a line")
    view.close()
    logging.getLogger().error("a later line")
    assert "a line" in screen.getvalue()
    assert log.getvalue() == "a later line\n"


def test_on_a_terminal_a_bar_shows_step_losses_and_speed() -> None:
    stream = io.StringIO()
    view = LiveView(stream, terminal=True)
    view.console.width = 200
    play(view)
    text = stream.getvalue()
    assert "\x1b[" in text
    assert "! overfitting" in text
    assert "epoch 1/3" in text
    assert "step 2/6" in text
    assert "sequence 3.000  0.500 s/it" in text


def test_the_bar_of_a_resumed_stage_goes_on_where_it_was() -> None:
    stream = io.StringIO()
    view = LiveView(stream, terminal=True)
    view.console.width = 200
    view.stage_begins("pretrain_sasrec", 3, 2, 1)
    view.step(lambda: {"sequence": 3.5}, 0.5)
    assert view.progress
    view.progress.refresh()
    view.close()
    assert "epoch 2/3" in stream.getvalue()
    assert "step 3/6" in stream.getvalue()


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
    trainer.tensorboard = trainer.wandblogger = writer
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
