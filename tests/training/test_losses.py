"""The losses of the first steps of each stage are those on file: a refactor changes no number."""

import json

import pytest

from tests.training.loss_curves import FOLDER, losses, machine

OTHER_MACHINE = 2e-2  # relative; the presets with bfloat16 products differ by about 1e-3


@pytest.mark.parametrize("preset", ["small", pytest.param("balanced", marks=pytest.mark.slow)])
def test_the_first_losses_of_every_stage_are_those_on_file(preset: str) -> None:
    kept = json.loads((FOLDER / f"{preset}.json").read_text(encoding="utf-8"))
    found = losses(preset)
    assert found.keys() == kept["stages"].keys()
    for stage, values in kept["stages"].items():
        if kept["machine"] == machine():
            assert found[stage] == values, stage
        else:
            assert found[stage] == pytest.approx(values, rel=OTHER_MACHINE), stage
