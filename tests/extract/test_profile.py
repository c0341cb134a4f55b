import numpy as np
import pytest
import torch

from tests.extract.conftest import write_toy
from ur4rec_recbole.commands import text_tables
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.items import Item, load_dataset, read_items
from ur4rec_recbole.data.profiles import newest_snapshot, profile_index
from ur4rec_recbole.extract.profile import (
    extract_profile,
    plan,
    snapshot_lengths,
    training_histories,
    write_snapshots,
)
from ur4rec_recbole.extract.template import History, template_profile

ITEMS = {
    "a": Item("Alpha", 1991, ("Drama",)),
    "b": Item("Beta", 1985, ("Comedy", "Drama")),
    "c": Item("Gamma", 1992, ("Drama",)),
}


def test_the_template_names_shares_decades_ratings_and_recent_favourites():
    text = template_profile(History(["a", "b", "c"], [5.0, 1.0, 4.0]), ITEMS)
    assert text == (
        "A user with 3 interactions. Genres: Drama 75%, Comedy 25%. Decades: 1990s 67%, 1980s "
        "33%. Average rating 3.3. Recent favourites: Gamma (1992); Alpha (1991)."
    )


def test_the_template_works_without_ratings_and_without_item_columns():
    text = template_profile(History(["b", "a"]), ITEMS)
    assert "rating" not in text and text.endswith("Recent favourites: Alpha (1991); Beta (1985).")
    assert template_profile(History(["x"]), {}) == "A user with 1 interactions."


def test_snapshots_stand_at_the_chosen_lengths_and_the_last():
    assert snapshot_lengths(7, (2, 5, 10)) == [2, 5, 7]
    assert snapshot_lengths(7, (2, 7)) == [2, 7]
    assert snapshot_lengths(7, (2, 5), last=False) == [2, 5]
    assert snapshot_lengths(1, (2,)) == [1]
    with pytest.raises(InputError, match="at least 1"):
        plan({"u": History(["a"])}, (0,))


def made(train, dataset, letters, lengths=(2, 4)):
    items = read_items(dataset)
    planned = plan(training_histories(train), lengths)
    snapshots = write_snapshots(planned, lambda past: template_profile(past, items))
    return snapshots, extract_profile(snapshots, letters, train, "template")


def fresh(folder, config):
    dataset = load_dataset("toy", [str(config)], {"data_path": str(folder)})
    return dataset, dataset.build()[0]


def test_a_text_holds_the_training_interactions_in_order_and_no_others(toy, toy_dataset):
    histories = training_histories(load_dataset("toy", [toy[5]], {"data_path": toy[3]}).build()[0])
    assert set(histories) == {f"u{user}" for user in range(1, 9)}
    # u1 meets i2 to i8; the last two are for validation and test.
    assert histories["u1"].items == ["i2", "i3", "i4", "i5", "i6"]
    assert histories["u1"].ratings == [1.0, 2.0, 3.0, 4.0, 5.0]


def edit(home, how):
    """Change each user's last two interactions: those of validation and test."""
    lines = (home / "toy.inter").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    for place, row in enumerate(rows):
        if place % 7 >= 5:
            how(row)
    kept = ["\t".join(row) for row in rows if row[0]]
    (home / "toy.inter").write_text("\n".join([lines[0], *kept]) + "\n")


def replace(row):
    row[1] = f"i{(int(row[1][1:]) + 4) % 14 + 1}"


def rerate(row):
    row[2] = "5"


@pytest.mark.parametrize("how", [replace, rerate])
def test_changing_future_interactions_changes_no_snapshot(tmp_path, letters, how):
    config = write_toy(tmp_path)
    before, table = made(fresh(tmp_path, config)[1], fresh(tmp_path, config)[0], letters)
    edit(tmp_path / "toy", how)
    dataset, train = fresh(tmp_path, config)
    after, again = made(train, dataset, letters)
    assert sorted(before) == sorted(after)
    assert table.provenance["source_sha256"] == again.provenance["source_sha256"]


def test_adding_interactions_changes_no_earlier_snapshot(tmp_path, letters):
    config = write_toy(tmp_path)
    dataset, train = fresh(tmp_path, config)
    before, _ = made(train, dataset, letters)
    with (tmp_path / "toy" / "toy.inter").open("a") as file:
        file.writelines(f"u{user}\ti{user}\t5\t{1000 * user + 50}\n" for user in range(1, 9))
    dataset, train = fresh(tmp_path, config)
    after = {(s.user, s.length): s.text for s in made(train, dataset, letters)[0]}
    assert all(after[s.user, s.length] == s.text for s in before if s.length < 5)


def test_removing_future_interactions_changes_no_earlier_snapshot(tmp_path, letters):
    config = write_toy(tmp_path)
    dataset, train = fresh(tmp_path, config)
    before = {(s.user, s.length): s.text for s in made(train, dataset, letters)[0]}
    edit(tmp_path / "toy", lambda row: row.__setitem__(0, ""))
    dataset, train = fresh(tmp_path, config)
    after = made(train, dataset, letters)[0]
    assert after and all(before[s.user, s.length] == s.text for s in after if s.length == 2)


def test_a_position_reads_the_newest_snapshot_that_knows_no_more_than_it(toy, letters):
    dataset = load_dataset("toy", [toy[5]], {"data_path": toy[3]})
    train = dataset.build()[0]
    snapshots, table = made(train, dataset, letters)
    index = profile_index(table, train)
    users = torch.tensor([train.token2id("user_id", "u3")])
    rows = newest_snapshot(index.keys, index.base, users, torch.arange(8)[None])[0]
    texts = [index.vectors[row].numpy() for row in rows]
    expected = {s.length: letters.encode([s.text])[0] for s in snapshots if s.user == "u3"}
    assert not texts[0].any() and not texts[1].any()
    for known, length in [(2, 2), (3, 2), (4, 4), (5, 5), (7, 5)]:
        assert np.allclose(texts[known], expected[length], atol=0.05)


def test_a_table_that_reaches_into_validation_is_refused_and_names_users(toy, letters):
    dataset = load_dataset("toy", [toy[5]], {"data_path": toy[3]})
    train = dataset.build()[0]
    _, table = made(train, dataset, letters)
    lengths = table.lengths.copy()
    lengths[(table.tokens == "u2") & (lengths == 5)] = 6
    ahead = FeatureTable(table.tokens, table.vectors, table.provenance, lengths)
    with pytest.raises(InputError, match="reach into validation or test.*u2"):
        profile_index(ahead, train)


def test_the_command_writes_the_table_of_this_split(toy, tmp_path, monkeypatch, letters, capsys):
    monkeypatch.setattr(text_tables, "text_encoder", lambda *words: letters)
    output = str(tmp_path / "p.npz")
    assert main(["extract", "profile", *toy, "--lengths", "2", "--output", output]) == 0
    table = FeatureTable.load(output)
    assert len(table) == 16 and sorted(set(table.lengths.tolist())) == [2, 5]
    profile_index(table, load_dataset("toy", [toy[5]], {"data_path": toy[3]}).build()[0])
    assert "16 snapshots of 8 users" in capsys.readouterr().out
    assert "valid_and_test" in str(table.provenance["split"])
