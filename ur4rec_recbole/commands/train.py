"""`ur4rec train`: one run, from a configuration to the final table.

ur4rec train --preset small
ur4rec train --model=SASRec --dataset=ml-100k --train_neg_sample_args=None
ur4rec train --resume runs/UR4Rec-ml-100k-...      goes on with a run that was interrupted
"""

import argparse

from ur4rec_recbole.commands.options import add_config_options, chosen_files, chosen_settings
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs.quick_start import run as train

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RecBole's usual arguments."""
    add_config_options(parser)
    parser.add_argument("--resume", metavar="RUN", help="folder of a run to go on with")
    parser.add_argument("--init-from", metavar="RUN", help="folder of a run to begin from")
    parser.epilog = "Any --key=value is a configuration key."


def run(options: argparse.Namespace) -> int:
    """Train, or go on."""
    files, settings = chosen_files(options), chosen_settings(options)
    if options.init_from:
        settings.append(f"--init_from={options.init_from}")
    if options.resume:
        more = [*settings, *files, *filter(None, (options.model, options.dataset))]
        if more:
            raise InputError(
                "--resume", "must stand alone, since the run keeps its configuration", more,
                "Remove the rest, or start a new run.",
            )  # fmt: skip
    train(options.model, options.dataset, files, resume=options.resume, arguments=settings)
    return 0
