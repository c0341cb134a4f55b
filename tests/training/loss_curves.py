"""Records the losses of the first steps of each stage of a preset, which a refactor must keep.

python -m tests.training.loss_curves small balanced      writes tests/training/losses/*.json anew
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

import ur4rec_recbole  # noqa: F401  registers UR4Rec

STEPS = 20
FOLDER = Path(__file__).parent / "losses"
PRESETS = Path(__file__).parents[2] / "properties"


def machine() -> dict[str, str]:
    """Name what a float's last bit depends on: the processor and torch."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.processor(), "torch": torch.__version__}


def losses(preset: str) -> dict[str, list[float]]:
    """Return by stage the summed loss of each of the first steps, on one thread."""
    torch.set_num_threads(1)
    file = str(PRESETS / f"{preset}.yaml")
    config = Config(config_file_list=[file], config_dict={"state": "ERROR", "seed": 2020})
    init_seed(config["seed"], True)
    train, _, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], True)
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return {stage.name: _steps(trainer, stage, train) for stage in trainer.stages}


def _steps(trainer: Any, stage: Any, train: Any) -> list[float]:
    trainer._begin(stage)
    trainer.model.stage_epoch = 1
    trainer.model.train()
    found = []
    for _, batch in zip(range(STEPS), train, strict=False):
        trainer.optimizer.zero_grad()
        with torch.autocast("cpu", enabled=trainer.enable_amp):
            loss = sum(trainer.model.calculate_loss(batch))
        loss.backward()
        trainer.optimizer.step()
        found.append(loss.item())
    return found


if __name__ == "__main__":
    presets, sys.argv = sys.argv[1:], sys.argv[:1]
    for name in presets:
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps({"machine": machine(), "stages": losses(name)}, indent=1)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
