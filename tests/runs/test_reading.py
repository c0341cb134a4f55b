"""Damaged run folders: one clear message of whoever reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs.folder import RunFolder

PUBLISHED = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def run(toy: Any, tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", toy().config)
    folder.add_epoch({"epoch": 0, "stage": "a", "stage_epoch": 1, "seconds": 1.0, "loss": 2.0})
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"{"),
        ("run.json", b"[]"),
        ("run.json", b"\xff\xfe"),
        ("run.json", b'{"model": "UR4Rec"}'),
        ("epochs.csv", b"a,b\n1,x\n"),
        ("epochs.csv", b"epoch,loss\n0,much\n"),
        ("epochs.csv", b"epoch\n0,1,2\n"),
        ("epochs.csv", b"epoch\nx\n"),
        ("epochs.csv", b"\xff\xfe\n"),
        ("epochs.csv", b"epoch,stage_epoch,loss\n1,1,2.0\n"),
        ("epochs.csv", b"epoch,stage,loss\n1,a,2.0\n"),
        ("epochs.csv", b"epoch,stage,stage_epoch,loss\n1,a,one,2.0\n"),
        ("findings.jsonl", b"not json\n"),
        ("findings.jsonl", b"[1]\n"),
        ("findings.jsonl", b'{"nome": 1}\n'),
        ("metrics.json", b"{"),
        ("metrics.json", b'{"test": [1]}'),
        ("metrics.json", b'{"test": {"full": {"hit@10": "high"}}}'),
        ("metrics.json", b'{"seconds": "long"}'),
        ("stages.json", b"[1]"),
        ("stages.json", b'[{"stage": "a", "epochs": 1, "score": "high"}]'),
        ("routing.json", b'{"epochs": 3}'),
        ("run.json", b'{"model": "A", "model": "B"}'),
        ("metrics.json", b'{"test": {"\\ud800": {}}}'),
    ],
)
@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_damaged_file_is_a_message_that_names_it(
    run: RunFolder, command: str, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / name).write_bytes(content)
    words = [command, str(run.path)] + ([str(run.path)] if command == "compare" else [])
    code = main(words)
    error = capsys.readouterr().err
    seen = command == "report" or name not in (
        "epochs.csv",
        "routing.json",
    )  # compare reads neither
    assert code == (2 if seen else 0)
    assert (name in error and error.count("\n") == 1) or not seen


@pytest.mark.parametrize("config", [[1], {"seed": 3}, {"seed": {"value": 1}}])
def test_a_configuration_of_another_shape_is_a_message(run: RunFolder, config: Any) -> None:
    run.about["config"] = config
    run.mark("failed")
    with pytest.raises(InputError, match=r"run\.json: config"):
        RunFolder.open(run.path)


def test_a_run_of_an_unknown_seed_is_reported(run: RunFolder) -> None:
    del run.about["seed"]
    run.mark("done")
    assert main(["report", str(run.path)]) == 0
    assert "seed unknown" in (run.path / "report.html").read_text()


def test_a_text_of_the_configuration_stays_a_text(toy: Any, tmp_path: Path) -> None:
    values = {"a": "2024-11-26", "b": "1 + 1", "c": "__import__('os')"}
    config = toy().config
    config.external_config_dict.update(values)
    config.variable_config_dict.update(values)
    config.final_config_dict.update(values)
    settings = RunFolder.create(tmp_path / "run", config).settings()
    assert {key: settings[key] for key in values} == values


def test_published_runs_are_read() -> None:
    folders = sorted(path.parent for path in PUBLISHED.rglob("run.json"))
    assert folders
    for folder in folders:
        run = RunFolder.open(folder)
        assert isinstance(run.epochs(), list) and isinstance(run.findings(), list)
        for name in ("metrics.json", "stages.json", "routing.json", "members.json"):
            run.read(name)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("test/full", np.array([1, 2, 3])),
        ("test/full", np.array([0, 1])),
        ("test/full", np.array([1.0, 2.0])),
        ("test/full", np.array([[1, 2]])),
        ("valid/full", np.array([1, 2])),
        ("test/users", np.array([1, 2])),
    ],
)
def test_ranks_that_are_none_are_refused(run: RunFolder, name: str, array: np.ndarray) -> None:
    sound = {"test/full": np.array([1, 2]), "test/users": np.array(["a", "b"])}
    np.savez(run.path / "ranks.npz", **(sound | {name: array}))
    with pytest.raises(InputError, match="ranks.npz: .*for each target"):
        run.ranks()


def test_what_would_steer_a_terminal_is_shown_instead(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run.about["commit"] = "\x1b]0;[red]"
    run.mark("done")
    other = RunFolder(run.path.parent / "other", run.about | {"commit": "x"})
    other.path.mkdir()
    (other.path / "run.json").touch()
    other.mark("done")
    assert main(["compare", str(run.path), str(other.path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\x1b]0;" in out and "[red]" in out


def test_null_is_as_good_as_nothing(run: RunFolder) -> None:
    (run.path / "metrics.json").write_text('{"test": null, "seconds": null}')
    assert run.read("metrics.json") == {}
    assert main(["report", str(run.path)]) == 0
    assert main(["compare", str(run.path), str(run.path)]) == 0


def test_routers_that_differ_from_epoch_to_epoch_are_drawn(run: RunFolder) -> None:
    epochs = [
        {"epoch": 1, "modal": {"text": 1.0}, "sub": {"text": [1.0]}},
        {"epoch": 2, "modal": {"image": 1.0}, "sub": {"text": [0.5, 0.5]}},
    ]
    groups = {
        "$a": {"rows": 1, "modal": {"text": 1.0}, "sub": {"text": [1.0]}},
        "b": {"rows": 2, "modal": {"image": 1.0}, "sub": {"text": [0.5, 0.5]}},
    }
    run.write_routing({"epochs": epochs, "groups": groups})
    assert main(["report", str(run.path)]) == 0
