"""A training step of every stage beside its floor on this machine.

python -m ur4rec_recbole.experiments.stage_speed balanced    (or another preset; default: balanced)
"""

import argparse
import itertools
import statistics
import sys
import time

import torch

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.experiments import floor
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.runs.doctor import take_step

WARM_UP, TIMED = 3, 12  # steps


def main() -> int:
    """Print a line a stage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("preset", nargs="?", default="balanced")
    preset = find_file(f"properties/{parser.parse_args().preset}.yaml")
    quiet = {"state": "ERROR", "show_progress": False}
    with settings_from():
        config = configuration(None, None, [str(preset)], quiet)
    data = load_data(config)
    trainer = build_trainer(config, data[0])
    kind = torch.bfloat16 if config["enable_amp"] else torch.float32
    rates = floor.measured_rates()
    print(
        f"{preset.stem} on {config['dataset']}, {torch.get_num_threads()} threads: "
        f"{rates.flops[kind] / 1e9:.0f} GFLOP/s in {kind}, {rates.bytes / 1e9:.1f} GB/s copied"
    )
    print(f"{'stage':20}{'GFLOP':>8}{'GB':>7}{'floor s':>10}{'reached s':>11}{'ratio':>7}  a step")
    for stage in trainer.stages:
        trainer._begin(stage)
        trainer.model.train()
        batches = list(itertools.islice(data[0], WARM_UP + TIMED))
        work = floor.work_of(lambda batch=batches[-1]: take_step(trainer, batch))  # type: ignore[misc]
        spent = []
        for batch in batches:
            began = time.perf_counter()
            take_step(trainer, batch)
            spent.append(time.perf_counter() - began)
        reached = statistics.median(spent[WARM_UP:])
        least = work.seconds(rates, kind)
        print(
            f"{stage.name:20}{work.flops / 1e9:8.1f}{work.bytes / 1e9:7.2f}{least:10.3f}"
            f"{reached:11.3f}{reached / least:7.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
