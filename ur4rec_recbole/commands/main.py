"""The `ur4rec` command: a table of sub-commands, each a module with `add_arguments` and `run`.

ur4rec --help
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ur4rec_recbole.core.command_line import check_words, settings_from
from ur4rec_recbole.core.errors import InputError, first_line
from ur4rec_recbole.core.files import UNUSABLE
from ur4rec_recbole.core.processes import Terminated, termination_raises

COMMANDS = {
    "train": "train and evaluate a model, or go on with a run that was interrupted",
    "extract": "make feature tables of texts, images, users",
    "inspect": "tell whether a feature table is sound and useful",
    "doctor": "check a configuration before it is trained",
    "convert": "turn data sets into RecBole's atomic files",
    "report": "make one page of a run: findings, plots, tables",
    "compare": "put runs side by side: settings and metrics",
    "benchmark": "run many models and seeds, and compare them",
    "tune": "search settings: Optuna or Ray Tune, bad trials ended early",
    "ablation": "measure what each component of the model contributes",
    "cold-start": "measure recommendations of items without training interactions",
    "recommend": "recommend items to histories, or to users in a batch",
    "similar": "list the items that are most like one",
    "serve": "answer requests for recommendations over HTTP",
    "export": "write a model for other programs: safetensors, ONNX, FAISS",
    "publish": "copy a benchmark's results, without weights and logs",
}
PIPE_CLOSED = 141  # as a shell tells of SIGPIPE
SHORTAGES = ("can't allocate memory", "out of memory", "size calculation overflowed")  # of torch


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints made `InputError`s."""

    def error(self, message: str) -> NoReturn:
        """Refuse words that make no command."""
        raise InputError(
            "Command line", "must be as --help shows", message, f"See {self.prog} --help."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; bad input prints a message and gives exit code 2.

    Ctrl-C and SIGTERM print one line and give 128 plus the signal's number; output that nobody
    reads any more, as after `| head`, ends the command likewise, without a word.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if not word.startswith("-")), None)
    command = f"ur4rec {chosen}" if chosen in COMMANDS else "ur4rec"
    try:
        code = _called(words, chosen)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        return PIPE_CLOSED
    except (OSError, MemoryError, RuntimeError) as error:
        told = _of_the_machine(error)
        if told is None:
            raise
        print(f"{command}: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"{command}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def _of_the_machine(error: Exception) -> InputError | None:
    """Return what to tell where a disk or the memory does not suffice; None for other errors."""
    if isinstance(error, OSError):
        if error.errno not in UNUSABLE:
            return None
        return InputError(
            str(error.filename or "A file"), "must be in a place that can be read and written to",
            error, "Make room, or name another place.",
        )  # fmt: skip
    if not isinstance(error, MemoryError) and not any(each in str(error) for each in SHORTAGES):
        return None
    return InputError(
        "The settings", "must fit into memory", first_line(error),
        "Lower the sizes (hidden_size, MAX_ITEM_LIST_LENGTH) or the batches.",
    )  # fmt: skip


def _output_is_closed() -> bool:
    """Tell whether nobody reads the output; if so, send the rest of it nowhere."""
    try:
        print(flush=True)  # an unbuffered output has nothing left to flush
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _called(words: Sequence[str], chosen: str | None) -> int:
    """Run what the words ask for."""
    _check_characters(words)
    parser = _parser(chosen)
    options, others = parser.parse_known_args(words)
    if options.version:
        print(f"ur4rec {importlib.import_module('ur4rec_recbole').__version__}")
        return 0
    if options.command is None:
        if others:
            parser.error(f"no command, only {' '.join(others)}")
        parser.print_help()
        return 2
    with settings_from():
        return _run(options, others)


def _check_characters(words: Sequence[str]) -> None:
    """Raise `InputError` for a word that came in as other bytes than UTF-8 and cannot be shown."""
    for word in words:
        try:
            word.encode()
        except UnicodeError as error:
            raise InputError(
                "Command line", "must be in UTF-8", repr(word), "Rename the file or folder."
            ) from error


def _parser(chosen: str | None) -> Parser:
    """Return the parser of all commands; the others than `chosen` have no options of their own."""
    parser = Parser(prog="ur4rec", description="UR4Rec for RecBole", allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(dest="command")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == chosen:  # the others stay unimported: some load heavy libraries
            _module(name).add_arguments(command)
    return parser


def _run(options: argparse.Namespace, others: Sequence[str]) -> int:
    """Run the chosen command; words that are not its options are settings, where it takes any."""
    importlib.import_module("ur4rec_recbole.registration").register()
    module = _module(options.command)
    if getattr(module, "TAKES_SETTINGS", False):
        others = [*others, *_taken_in(options)]
        check_words(others)
        options.settings = [_as_key(word) for word in others]
        check_words(options.settings)  # two spellings of a key are one
    elif others:
        raise InputError(
            f"Command line: {others[0]}", "must be an option of this command", "an unknown word",
            f"See ur4rec {options.command} --help.",
        )  # fmt: skip
    with termination_raises():  # now that all is imported: ray puts a handler of its own in place
        return int(module.run(options) or 0)


def _taken_in(options: argparse.Namespace) -> list[str]:
    """Take back settings with a space in them, which argparse takes for one more file or item."""
    found = []
    for name, value in vars(options).items():
        if isinstance(value, list):
            found += [word for word in value if str(word).startswith("--")]
            setattr(options, name, [word for word in value if not str(word).startswith("--")])
    return found


def _as_key(word: str) -> str:
    """Return --key=value with the key as RecBole writes it: --train-batch-size=64 will do."""
    key, equals, value = word.removeprefix("--").partition("=")
    return f"--{key.replace('-', '_')}{equals}{value}"


def _module(command: str) -> Any:
    return importlib.import_module(f"ur4rec_recbole.commands.{command.replace('-', '_')}")
