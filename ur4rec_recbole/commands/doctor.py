"""`ur4rec doctor`: what a training would do, before it is started.

ur4rec doctor --preset small
ur4rec doctor --dataset shop --data-path data --train_batch_size=64
"""

import argparse
from typing import Any

from ur4rec_recbole.commands.options import add_config_options, chosen_files, chosen_settings
from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.monitoring.table_checks import check_tables
from ur4rec_recbole.registration import check_keys
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.runs.doctor import (
    config_warnings,
    describe,
    estimate,
    recommended_preset,
    stage_cost,
)

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config_options(parser)
    parser.epilog = "Any --key=value is a configuration key."


def run(options: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if there is a warning."""
    config = _configuration(options)
    data = load_data(config)
    trainer = build_trainer(config, data[0])
    model = trainer.model
    print("\n".join(describe(model, data)))
    train, valid = data[0]._dataset, data[1]._dataset
    print(recommended_preset(train, valid, "text" in model.features.item_modalities))
    warnings = []
    for line, sound in check_tables(config, data[0]._dataset):
        print(line)
        warnings += [] if sound else [f"the {line}"]
    costs = [stage_cost(trainer, index, data) for index in range(len(trainer.stages))]
    print("\n".join(estimate(costs, model)))
    warnings += config_warnings(config, model, *data[:2])
    print("\n".join(f"WARNING: {each}" for each in warnings) or "No warning.")
    return 1 if warnings else 0


def _configuration(options: argparse.Namespace) -> Any:
    settings = {"state": "ERROR", "show_progress": False}
    if options.model not in (None, "UR4Rec"):
        raise InputError("--model", "must be UR4Rec", options.model, "Name that one.")
    with settings_from(chosen_settings(options)):
        config = configuration("UR4Rec", options.dataset, chosen_files(options), settings)
    check_keys(config)
    return config
