"""`ur4rec train`: one run, from a configuration to the final table.

ur4rec train --preset small
ur4rec train --model=SASRec --dataset=ml-100k --train_neg_sample_args=None
ur4rec train --preset small --nproc 2              trains in two processes
ur4rec train --preset small --init-from runs/yesterday --on all
ur4rec train --resume runs/UR4Rec-ml-100k-...      goes on with a run that was interrupted
"""

import argparse

from ur4rec_recbole.commands.options import (
    add_config_options,
    chosen_files,
    chosen_settings,
    quoted,
)
from ur4rec_recbole.core.command_line import check_words
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs import on_all
from ur4rec_recbole.runs.quick_start import run as train

TAKES_SETTINGS = True
TOGETHER = {
    "nproc": "processes that train together on this machine",
    "world_size": "processes on all machines; default: nproc",
    "ip": "address of the machine that has the first process",
    "port": "where the processes meet there; default: a free port",
    "group_offset": "number of this machine's first process",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RecBole's usual arguments."""
    add_config_options(parser)
    parser.add_argument("--resume", metavar="RUN", help="folder of a run to go on with")
    parser.add_argument("--init-from", metavar="RUN", help="folder of a run to begin from")
    for key, meaning in TOGETHER.items():
        parser.add_argument(
            f"--{key}", f"--{key.replace('_', '-')}", action="append", metavar="X", help=meaning
        )
    parser.add_argument(
        "--on", choices=("split", "all"), default="split",
        help="all: then train on all interactions, for the epochs that the split has settled",
    )  # fmt: skip
    parser.epilog = "Any --key=value is a configuration key."


def run(options: argparse.Namespace) -> int:
    """Train, or go on."""
    files, settings = chosen_files(options), chosen_settings(options)
    together = [f"--{key}={value}" for key in TOGETHER for value in getattr(options, key) or ()]
    check_words(together)
    settings += together
    if options.init_from:
        settings.append(f"--init_from={quoted(options.init_from)}")
    if options.resume:
        more = [*settings, *files, *filter(None, (options.model, options.dataset))]
        if more:
            raise InputError(
                "--resume", "must stand alone, since the run keeps its configuration", more,
                "Remove the rest, or start a new run.",
            )  # fmt: skip
    wanted = (options.model, options.dataset, files)
    if options.on == "all" and options.resume:
        on_all.check_resumed(options.resume)
    elif options.on == "all":
        on_all.check(*wanted, settings)
    found = train(*wanted, resume=options.resume, arguments=settings)
    if options.on == "all" and found.folder:
        on_all.train_on_all(found.folder)
    return 0
