"""Programs beside `ur4rec`: words that they do not know are refused, too."""

import importlib
import sys

import pytest

PROGRAMS = (
    "datasets.planted", "experiments.benchmark_job", "experiments.epoch_speed",
    "experiments.extract_speed", "serving.speed",
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_word_is_refused(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "--nonsense=1"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"ur4rec_recbole.{program}").main()
    assert ended.value.code == 2
