"""Commands that write files: however they end, no half-written one, and the next start mends all.

Kill, Ctrl-C, SIGTERM, a full disk and a read-only folder, each while the first file is finished.
"""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.home import at_home, everything, home  # noqa: F401
from tests.killing import die, dying_at
from tests.permissions import permissions_count
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.processes import Terminated

TABLE = "--dataset toy --config toy.yaml"
COMMANDS = {
    "convert table": "convert table --interactions orders.csv --items goods.csv --output {}/shop",
    "convert amazon": "convert amazon --reviews reviews.json --output {}/beauty",
    "extract text": f"extract text {TABLE} --texts t.json --encoder tfidf:2 --output {{}}/a.npz",
    "extract profile": f"extract profile {TABLE} --encoder random:4 --output {{}}/a.npz",
    "inspect": f"inspect text.npz {TABLE} --json {{}}/a.json",
    "recommend": "recommend model --users users.txt --out {}/a.csv",
    "export": "export model --output {}/copy",
    "publish": "publish runs {}/results",
}  # fmt: skip
STAYS = (".lock", ".parts/job.json", ".parts/0.jsonl")  # what going on needs


@pytest.fixture(autouse=True)
def _inputs(at_home: None) -> None:  # noqa: F811
    Path("out").mkdir()
    Path("orders.csv").write_text("user,item,time\nu1,i1,1\nu2,i2,2\n")
    Path("goods.csv").write_text("item,title\ni1,One\ni2,Two\n")
    Path("reviews.json").write_text(
        '{"reviewerID": "u", "asin": "a", "overall": 5.0, "unixReviewTime": 1}\n'
    )
    Path("t.json").write_text('{"i1": "red and blue", "i2": "green and blue", "i3": "red"}')
    Path("users.txt").write_text("u1\nu2\n")
    Path("runs").mkdir()
    Path("run").rename("runs/run")


def left() -> list[str]:
    """Return the files in out/ that going on does not need."""
    names = [name for name, _ in everything(Path("out"))]
    return [name for name in names if not name.endswith(STAYS)]


def words(name: str) -> list[str]:
    return COMMANDS[name].format("out").split()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("signal", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_signal_leaves_nothing_half_written(
    name: str, signal: type, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def stop(*_: Any) -> None:
        raise signal

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", stop)
        assert main(words(name)) == code
    assert capsys.readouterr().err.endswith(f"ur4rec {name.split()[0]}: interrupted\n")
    assert left() == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_message(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert main(words(name)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"ur4rec {name.split()[0]}: ") and "No space left on device" in said
    assert left() == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_kill_left_is_gone_after_the_next_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(lambda: main(words(name)), monkeypatch, dying_at(os, "replace", 1))
    assert [name for name in everything(Path("out")) if name[0].endswith(".tmp")]
    assert main(words(name)) in (0, 1)  # 1: `inspect` finds the table of no use
    assert left() and not [name for name in left() if name.endswith(".tmp")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_folder_is_one_message(name: str, capsys: Any) -> None:
    Path("out").chmod(0o500)
    with permissions_count():
        assert main(words(name)) == 2
    assert "Permission denied" in capsys.readouterr().err.splitlines()[-1]
