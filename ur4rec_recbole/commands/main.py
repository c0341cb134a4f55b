"""The `ur4rec` command: a table of sub-commands, each a module with `add_arguments` and `run`.

ur4rec --help
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ur4rec_recbole.core.errors import InputError

COMMANDS = {
    "extract": ("ur4rec_recbole.commands.extract", "make feature tables of texts, images, users"),
    "inspect": ("ur4rec_recbole.inspection.checks", "tell whether a feature table is sound and useful"),
    "benchmark": ("ur4rec_recbole.experiments.benchmark", "run many models and seeds, and compare them"),
    "publish": ("ur4rec_recbole.experiments.publish", "copy what others need of a benchmark's runs"),
    "report": ("ur4rec_recbole.commands.report", "make one page of a run: findings, plots, tables"),
    "compare": ("ur4rec_recbole.reports.compare", "put runs side by side: settings and metrics"),
    "doctor": ("ur4rec_recbole.runs.doctor", "check a configuration before it is trained"),
    "convert": ("ur4rec_recbole.datasets.convert", "turn public data sets into RecBole's atomic files"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; bad input gives its message and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # RecBole's Config reads --key=value from sys.argv by itself; these words are not for it.
    sys.argv = sys.argv[:1]
    parser = argparse.ArgumentParser(prog="ur4rec", description="UR4Rec for RecBole")
    commands = parser.add_subparsers(dest="command", required=True)
    chosen = words[0] if words else None
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:  # the others stay unimported: some load heavy libraries
            importlib.import_module(module).add_arguments(command)
    options = parser.parse_args(words)
    try:
        return int(importlib.import_module(COMMANDS[options.command][0]).run(options) or 0)
    except InputError as error:
        print(f"ur4rec {options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
