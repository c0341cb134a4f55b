"""The `ur4rec` command: help without heavy imports, bad input as a message."""

import sys
import types
from typing import Any

import pytest

from ur4rec_recbole.commands import main as cli
from ur4rec_recbole.core.errors import InputError


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A sub-command `stub` that remembers its options and fails when asked to."""
    seen: list[Any] = []
    module = types.ModuleType("stub")

    def add_arguments(parser: Any) -> None:
        parser.add_argument("--size", type=int, default=1)

    def run(options: Any) -> int | None:
        seen.append(options.size)
        seen.extend(sys.argv[1:])
        if options.size < 0:
            raise InputError("--size", "must be positive", options.size, "Raise it.")
        return None if options.size else 3

    module.add_arguments, module.run = add_arguments, run
    monkeypatch.setitem(sys.modules, "ur4rec_recbole.commands.stub", module)
    monkeypatch.setattr(cli, "COMMANDS", {"stub": "does", "broken": "fails when it is imported"})
    return seen


def test_a_sub_command_runs_with_its_options(stub: list[Any]) -> None:
    assert cli.main(["stub", "--size=4"]) == 0
    assert cli.main(["stub", "--size", "0"]) == 3
    assert stub == [4, 0]


def test_words_of_the_command_are_kept_from_recboles_config(
    stub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ur4rec", "stub", "--size=5"])
    assert cli.main() == 0
    assert stub == [5]
    assert sys.argv == ["ur4rec", "stub", "--size=5"]  # as it was


def test_bad_input_gives_its_message_and_exit_code_2(
    stub: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["stub", "--size=-1"]) == 2
    assert capsys.readouterr().err == (
        "ur4rec stub: --size must be positive. Received -1. Raise it.\n"
    )


@pytest.mark.parametrize("words", [["unknown"], ["stub", "--size=big"], ["--unknown"]])
def test_words_that_make_no_command_are_bad_input(
    stub: list[Any], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith("ur4rec")


def test_no_word_at_all_shows_the_help(stub: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "stub" in capsys.readouterr().out


def test_help_imports_no_sub_command(stub: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert "stub" in capsys.readouterr().out
