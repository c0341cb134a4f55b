"""Recommendations for many users become one file; what was killed goes on where it was."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.serving.test_recommender import recommender
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.commands.recommend import print_items
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.serving import batches
from ur4rec_recbole.serving.batches import recommend_to_file
from ur4rec_recbole.serving.recommender import Recommender
from ur4rec_recbole.serving.requests import Later

USERS = [f"u{n}" for n in range(1, 11)]


class Killed(RuntimeError):
    pass


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file_has_what_one_call_gives(full_toy: Any, tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    made = recommender(full_toy())
    out = tmp_path / f"out.{suffix}"
    recommend_to_file(made, USERS, out, batch=4, k=3)
    read = {
        "csv": pd.read_csv,
        "tsv": lambda file: pd.read_csv(file, sep="\t"),
        "jsonl": lambda file: pd.read_json(file, lines=True),
        "parquet": pd.read_parquet,
    }[suffix]
    expected = made.recommend_users(USERS, k=3)
    pd.testing.assert_frame_equal(read(out), expected, check_exact=False, rtol=1e-6)
    assert sorted(file.name for file in tmp_path.glob("out*")) == [
        out.name,
        f"{out.name}.parts.lock",
    ]


def test_finished_batches_are_not_done_again(full_toy: Any, tmp_path: Path) -> None:
    made = recommender(full_toy())
    asked: list[int] = []

    def killed(count: int) -> None:
        asked.append(count)
        if len(asked) == 2:
            raise Killed

    with pytest.raises(Killed):
        recommend_to_file(made, USERS, tmp_path / "out.csv", advance=killed, batch=4)
    assert not (tmp_path / "out.csv").exists()
    assert recommend_to_file(made, USERS, tmp_path / "out.csv", batch=4) == 2
    found = pd.read_csv(tmp_path / "out.csv")
    assert found.item.tolist() == made.recommend_users(USERS).item.tolist()


def test_a_file_is_of_one_moment_whenever_it_is_finished(
    full_toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recommender(full_toy(time_intervals=True, request_time=True))
    monkeypatch.setattr(type(made.histories), "has_real_times", lambda self: True)
    asked = []
    recommend = made.recommend_users
    monkeypatch.setattr(
        made, "recommend_users",
        lambda users, later, now, **more: asked.append(now) or recommend(users, later, now, **more),
    )  # fmt: skip

    def killed(count: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        recommend_to_file(made, USERS, tmp_path / "out.csv", advance=killed, batch=4)
    recommend_to_file(made, USERS, tmp_path / "out.csv", batch=4)
    assert len(asked) > 1 and len(set(asked)) == 1 and asked[0] > 1.7e9


def test_interactions_may_be_any_table(full_toy: Any, tmp_path: Path) -> None:
    made = recommender(full_toy())
    one = pd.DataFrame({"user": ["u1"], "item": ["i2"], "time": [90]})
    since = pd.concat([one, one.assign(user="new", item="i3")])  # two rows of one index
    recommend_to_file(made, ["u1", "new"], tmp_path / "a.csv", since)
    recommend_to_file(made, ["u1", "new"], tmp_path / "b.csv", since.to_dict("list"))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_other_inputs_begin_anew(full_toy: Any, tmp_path: Path) -> None:
    made = recommender(full_toy())

    def killed(count: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        recommend_to_file(made, USERS, tmp_path / "out.csv", advance=killed, batch=4)
    assert recommend_to_file(made, USERS, tmp_path / "out.csv", batch=4, k=3) == 0


def test_models_without_weights_are_told_apart(toy: Any) -> None:
    made = recommender(toy(model="RecentPopularity"))

    def digest(half_life: str) -> str:
        made.index.config["popularity_half_life"] = half_life
        return batches._digest(made, USERS, Later(), 4, {})

    assert digest("1d") == digest("1d") != digest("2d")


def test_a_folder_of_other_files_is_kept_and_refused(full_toy: Any, tmp_path: Path) -> None:
    mine = tmp_path / "out.csv.parts" / "mine.jsonl"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(InputError, match="out.csv.parts must be free"):
        recommend_to_file(recommender(full_toy()), USERS, tmp_path / "out.csv")
    assert mine.read_text() == "mine"


def test_a_kind_of_file_that_is_not_known_is_refused(full_toy: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out"):
        recommend_to_file(recommender(full_toy()), USERS, tmp_path / "out.xlsx")


@pytest.fixture
def folder(full_toy: Any, tmp_path: Path) -> str:
    recommender(full_toy()).save(tmp_path / "model")
    return str(tmp_path / "model")


def test_the_commands_print_what_the_recommender_gives(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Recommender.load(folder)
    assert main(["recommend", folder, "--history", "i1", "--only-new"]) == 2  # all are known
    assert "only_new" in capsys.readouterr().err
    assert main(["recommend", folder, "--history", "i1,i2,?", "--k", "3"]) == 0
    out = capsys.readouterr().out
    assert "not in the catalogue: ?" in out
    items = [line.split()[1] for line in out.strip().split("\n")[1:]]
    assert items == made.recommend(["i1", "i2"], k=3).items
    assert main(["similar", folder, "i1", "--k", "2"]) == 0
    items = [line.split()[1] for line in capsys.readouterr().out.strip().split("\n")]
    assert items == made.similar_items("i1", 2).items
    today = pd.DataFrame({"user": ["u1", "new"], "item": ["i2", "i3"], "time": [90, 91]})
    today.to_csv(tmp_path / "today.csv", index=False)
    words = f"recommend {folder} --interactions {tmp_path}/today.csv --out {tmp_path}/out.csv"
    assert main(words.split()) == 0
    shown = capsys.readouterr().err.split()  # the progress bar
    assert shown[0] == "users" and "2/2" in shown
    found = pd.read_csv(tmp_path / "out.csv")
    assert found.item.tolist() == made.recommend_users(["new", "u1"], today).item.tolist()


def test_titles_do_not_steer_the_terminal(
    full_toy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recommender(full_toy())
    made.titles = {"i1": "\x1b[2JFilm"}
    print_items(made, (["i1"], [1.0]))
    assert capsys.readouterr().out == "    1.0000  i1  \\x1b[2JFilm\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--history", "i1", "--users", "u.txt"],
        ["--users", "nowhere.txt"],
        ["--users", "empty.txt"],
        ["--history", "i1", "--k", "0"],
        ["--history", "i1", "--now", "noon"],
        ["--users", "empty.txt", "--out", "x.xlsx"],
        ["--interactions", "nowhere.csv"],
        ["--history", "i1", "--out", "x.csv"],
        ["--history", "i1", "--user", "u5"],
        ["--users", "u.txt", "--time", "when"],
        ["--users", "u.txt", "--out", "x.csv", "--k", "0"],
    ],
)
def test_a_command_that_makes_no_sense_is_one_message(
    folder: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("\n")
    assert main(["recommend", folder, *words]) == 2
    assert capsys.readouterr().err.startswith("ur4rec recommend: ")
