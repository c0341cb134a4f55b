"""The `ur4rec` command: help without heavy imports, bad input as a message."""

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import types
from typing import Any

import pytest

from ur4rec_recbole.commands import main as cli
from ur4rec_recbole.core.command_line import read_value
from ur4rec_recbole.core.errors import InputError


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A sub-command `stub` that remembers its options and fails when asked to."""
    seen: list[Any] = []
    name = "ur4rec_recbole.commands.stub"
    module = types.ModuleType(name)

    def add_arguments(parser: Any) -> None:
        parser.add_argument("--size", type=int, default=1)

    def run(options: Any) -> int | None:
        seen.append(options.size)
        if options.size < 0:
            raise InputError("--size", "must be positive", options.size, "Raise it.")
        return None if options.size else 3

    module.add_arguments, module.run = add_arguments, run
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cli, "COMMANDS", {"stub": "does", "broken": "fails"})
    return seen


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_any_more_ends_a_command_without_a_word(unbuffered: str) -> None:
    command = [sys.executable, "-m", "ur4rec_recbole", "--version"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as running:  # fmt: skip
        assert running.stdout and running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == cli.PIPE_CLOSED


def test_a_pipe_that_breaks_elsewhere_is_no_end_of_output(
    stub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(options: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(sys.modules["ur4rec_recbole.commands.stub"], "run", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["stub"])


def test_a_sub_command_runs_with_its_options(stub: list[Any]) -> None:
    assert cli.main(["stub", "--size=4"]) == 0
    assert cli.main(["stub", "--size", "0"]) == 3
    assert stub == [4, 0]


def test_words_of_the_command_are_kept_from_recboles_config(
    stub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ur4rec", "stub", "--size=5"])
    module = sys.modules["ur4rec_recbole.commands.stub"]
    monkeypatch.setattr(module, "run", lambda options: stub.append((options.size, sys.argv)))
    assert cli.main() == 0
    assert stub == [(5, ["ur4rec"])]
    assert sys.argv == ["ur4rec", "stub", "--size=5"]  # the program's own again


def test_bad_input_gives_its_message_and_exit_code_2(
    stub: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["stub", "--size=-1"]) == 2
    assert capsys.readouterr().err == (
        "ur4rec stub: --size must be positive. Received -1. Raise it.\n"
    )


@pytest.mark.parametrize("words", [[], ["unknown"], ["stub", "--size=big"]])
def test_words_that_make_no_command_exit_with_2(stub: list[Any], words: list[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as error:  # argparse's own
        code = error.code
    assert code == 2


def test_words_that_a_command_does_not_take_are_refused(
    stub: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["stub", "--siez=4"]) == 2
    assert "--siez=4" in capsys.readouterr().err
    assert not stub


@pytest.mark.parametrize("word", ["--epochs", "epochs=2", "-x", "--=1"])
def test_a_word_that_sets_nothing_is_refused(
    stub: list[Any], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules["ur4rec_recbole.commands.stub"].TAKES_SETTINGS = True
    assert cli.main(["stub", "--good=1", word]) == 2
    assert "--key=value" in capsys.readouterr().err


def test_a_key_in_two_spellings_is_given_twice(
    stub: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules["ur4rec_recbole.commands.stub"].TAKES_SETTINGS = True
    assert cli.main(["stub", "--train-batch-size=64", "--train_batch_size=32"]) == 2
    assert "must be given once" in capsys.readouterr().err


def test_a_key_may_be_written_with_dashes(stub: list[Any]) -> None:
    module = sys.modules["ur4rec_recbole.commands.stub"]
    module.TAKES_SETTINGS = True
    module.run = lambda options: stub.append(options.settings)
    assert cli.main(["stub", "--train-batch-size=64", "--a_b=c-d=e"]) == 0
    assert stub == [["--train_batch_size=64", "--a_b=c-d=e"]]


@pytest.mark.parametrize(
    ("command", "spellings"),
    [
        ("train", [("--config-files", "--config_files"), ("--data-path", "--data_path")]),
        ("doctor", [("--config-files", "--config_files"), ("--data-path", "--data_path")]),
        ("inspect", [("--config-files", "--config_files", "--config"),
                     ("--data-path", "--data_path")]),
        ("cold-start", [("--config-files", "--config_files")]),
        ("ablation", [("--output", "--folder"), ("--markdown", "--out")]),
        ("recommend", [("--output", "--out")]),
    ],
)  # fmt: skip
def test_an_option_has_one_spelling_everywhere_and_older_ones_still_work(
    command: str, spellings: list[tuple[str, ...]]
) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    name = command.replace("-", "_")
    importlib.import_module(f"ur4rec_recbole.commands.{name}").add_arguments(parser)
    for group in spellings:
        assert len({parser._option_string_actions[word] for word in group}) == 1


def test_help_imports_no_sub_command(stub: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert "stub" in capsys.readouterr().out


def test_words_of_options_reach_the_configuration_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A run named as a number, a folder with a character beyond the basic plane, a space."""
    asked: dict[str, Any] = {}
    train = importlib.import_module("ur4rec_recbole.commands.train")
    monkeypatch.setattr(train, "train", lambda *wanted, **rest: asked.update(rest, wanted=wanted))
    file = tmp_path / "my shop" / "shop.yaml"
    file.parent.mkdir()
    file.write_text("")
    words = ["--init-from", "20240105", "--data-path", "\N{ROCKET}", "--config-files", str(file)]
    with contextlib.suppress(AttributeError):  # there is no result
        cli.main(["train", *words, "--load_col={inter: [user_id, item_id]}"])
    values = {key: read_value(value) for key, _, value in
              (word.partition("=") for word in asked["arguments"])}  # fmt: skip
    assert values == {
        "--init_from": "20240105", "--data_path": "\N{ROCKET}",
        "--load_col": {"inter": ["user_id", "item_id"]},
    }  # fmt: skip
    assert asked["wanted"][2] == [str(file)]
