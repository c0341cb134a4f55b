"""Files: all of the new content or all of the old, and one process at a time."""

import os
import signal
import stat
from pathlib import Path

import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, exclusive_lock, read_json, require_writable


def test_a_finished_block_replaces_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with atomic_write(tmp_path / "f") as file:
        file.write(b"new")
        assert (tmp_path / "f").read_text() == "old"
    assert (tmp_path / "f").read_text() == "new"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_leaves_the_old_file_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "f").write_text("old")
    with pytest.raises(error), atomic_write(tmp_path / "f") as file:
        file.write(b"half")
        raise error
    assert (tmp_path / "f").read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_what_a_kill_left_is_removed_by_the_next_write_of_the_same_file(tmp_path: Path) -> None:
    for name in (".f.abcd1234.tmp", ".g.abcd1234.tmp", ".f.tmp"):
        (tmp_path / name).touch()
    with atomic_write(tmp_path / "f"), atomic_write(tmp_path / "f"):
        assert len(list(tmp_path.glob(".f.????????.tmp"))) == 2  # one that is written stays
    assert sorted(os.listdir(tmp_path)) == [".f.tmp", ".g.abcd1234.tmp", "f"]


DAMAGED = ["", "{", "[" * 100_000, '{"a": 1, "a": 2}', '["\\ud83d"]', "\xe9"]


@pytest.mark.parametrize("text", DAMAGED)
def test_json_that_is_damaged_is_a_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="f.json must be JSON"):
        read_json(tmp_path / "f.json")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with atomic_write(str(tmp_path / "a" / "b" / "f")) as file:
        file.write(b"new")
    assert (tmp_path / "a" / "b" / "f").read_bytes() == b"new"


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "f"):
        pass
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("f", "other")]
    assert modes[0] == modes[1]


def test_a_folder_without_room_or_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    require_writable("run_folder", tmp_path / "new", 1)
    assert os.listdir(tmp_path / "new") == []
    with pytest.raises(InputError, match="run_folder .* needs .* Make room"):
        require_writable("run_folder", tmp_path, 10**18)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="checkpoint_dir .* can be written to"):
        require_writable("checkpoint_dir", tmp_path / "file" / "saved")


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """Another process holds the lock: it is refused, and free again once that process is killed."""
    lock, refusal = tmp_path / "lock", InputError("Lock", "must be free", "taken", "Wait.")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with exclusive_lock(lock):
            os.write(writing, b"held")
            signal.pause()
    assert os.read(reading, 4) == b"held"
    with pytest.raises(InputError, match="must be free"), exclusive_lock(lock, refusal):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with exclusive_lock(lock, refusal):
        pass
