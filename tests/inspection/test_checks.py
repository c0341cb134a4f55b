import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import make_table, sequences, write_atomic_files
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.inspection import measures

SHIPPED = Path(__file__).parents[2] / "dataset" / "ml-100k"


def inspected(table, tmp_path, *words):
    out = tmp_path / "found.json"
    code = main(["inspect", str(table), "--dataset", "ml-100k", "--json", str(out), *words])
    return code, json.loads(out.read_text())


def test_the_shipped_text_table_is_right_and_shifted_by_one_is_not(tmp_path, capsys):
    code, right = inspected(SHIPPED / "item_text.npz", tmp_path, "--items", "50")
    said = capsys.readouterr().out
    assert code == 0 and right["ids_right"] and right["useful"]
    assert "Are the ids right? yes" in said
    assert "near Star Wars (1977) [50]: Return of the Jedi (1983) [181]" in said
    assert right["coverage_ids"] == right["coverage_interactions"] == 1.0
    table = FeatureTable.load(SHIPPED / "item_text.npz")
    shifted = FeatureTable(np.roll(table.tokens, 1), table.vectors, table.provenance)
    shifted.save(tmp_path / "shifted.npz")
    code, wrong = inspected(tmp_path / "shifted.npz", tmp_path)
    assert code == 1 and not wrong["ids_right"] and wrong["best_lag"] == -1
    assert right["z"] > 10 * abs(wrong["z"]) and wrong["lead"] < 0
    assert "Are the ids right? NO" in capsys.readouterr().out


def test_the_shipped_profiles_are_right_and_shifted_by_one_user_are_not(tmp_path):
    code, found = inspected(SHIPPED / "user_profile.npz", tmp_path)
    assert code == 0 and found["ids_right"] and found["basis"] == "items"
    assert found["coverage_ids"] == 1.0


def test_random_vectors_are_not_useful(tmp_path):
    table = FeatureTable.load(SHIPPED / "item_text.npz")
    noise = np.random.default_rng(0).normal(size=(len(table), 8)).astype(np.float32)
    FeatureTable(table.tokens, noise, table.provenance).save(tmp_path / "noise.npz")
    code, found = inspected(tmp_path / "noise.npz", tmp_path)
    assert code == 1 and not found["useful"] and abs(found["z"]) < 4


def test_a_bare_npz_of_tokens_and_vectors_is_read(tmp_path):
    table = FeatureTable.load(SHIPPED / "item_text.npz")
    np.savez(tmp_path / "bare.npz", token=table.tokens[:900], vector=table.vectors[:900])
    code, found = inspected(tmp_path / "bare.npz", tmp_path)
    assert code == 0 and found["coverage_ids"] == pytest.approx(900 / 1682)


def test_a_profile_table_of_another_split_is_refused(tmp_path, capsys):
    table = FeatureTable.load(SHIPPED / "user_profile.npz")
    other = {**table.provenance, "source_sha256": "0" * 64}
    FeatureTable(table.tokens, table.vectors, other, table.lengths).save(tmp_path / "p.npz")
    assert main(["inspect", str(tmp_path / "p.npz"), "--dataset", "ml-100k"]) == 2
    assert "source_sha256" in capsys.readouterr().err


def test_a_file_that_is_no_table_is_refused_without_waiting(tmp_path, capsys):
    whole = (SHIPPED / "item_text.npz").read_bytes()
    (tmp_path / "truncated.npz").write_bytes(whole[:2000])
    (tmp_path / "empty.npz").write_bytes(b"")
    with (tmp_path / "plain.npz").open("wb") as file:
        np.save(file, np.ones((3, 3)))
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    for name in ("truncated", "empty", "plain", "pipe", "folder", "nowhere"):
        table = str(tmp_path / f"{name}.npz")
        assert main(["inspect", table, "--dataset", "ml-100k"]) == 2
        assert f"{name}.npz" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_an_output_that_cannot_be_written_is_refused_first(tmp_path, capsys, option):
    words = [str(tmp_path / "nowhere.npz"), "--dataset", "ml-100k", option, str(tmp_path)]
    assert main(["inspect", *words]) == 2
    assert option in capsys.readouterr().err


def test_large_values_do_not_break_the_measures(tmp_path):
    table = FeatureTable.load(SHIPPED / "item_text.npz")
    FeatureTable(table.tokens, table.vectors * 1e30, table.provenance).save(tmp_path / "t.npz")
    code, found = inspected(tmp_path / "t.npz", tmp_path)
    assert code == 0 and np.isfinite(found["norm_most"])


def test_the_page_shows_thumbnails_and_escapes_titles(tmp_path):
    from ur4rec_recbole.reports.neighbour_page import neighbour_page

    Image.new("RGB", (300, 200), "red").save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"broken")
    (tmp_path.parent / "secret.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    cells = [[("a", "<script>x</script>"), ("b", "B"), ("../secret", "S")]]
    page = neighbour_page(["line"], cells, str(tmp_path))
    assert page.count("<img") == 1 and "data:image/jpeg;base64," in page
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_the_html_option_writes_the_page(tmp_path):
    page = tmp_path / "page.html"
    inspected(SHIPPED / "item_text.npz", tmp_path, "--items", "1", "--html", str(page))
    assert "Toy Story (1995) [1]" in page.read_text()


def test_a_table_of_ones_own_data_needs_no_configuration_file(tmp_path):
    write_atomic_files(tmp_path, sequences([9] * 12, n_items=30), name="shop")
    file = tmp_path / "shop" / "shop.inter"
    file.write_text(file.read_text().replace("item_id:token", "product:token"))
    make_table("item_text", [f"i{n}" for n in range(1, 31)]).save(tmp_path / "t.npz")
    words = [str(tmp_path / "t.npz"), "--dataset", "shop", "--data-path", str(tmp_path)]
    assert main(["inspect", *words]) == 2  # there is no item_id
    numbers = tmp_path / "n.json"
    words += ["--ITEM_ID_FIELD=product", "--json", str(numbers)]
    assert main(["inspect", *words]) in (0, 1)
    assert json.loads(numbers.read_text())["coverage_ids"] == 1.0


def test_items_that_nobody_has_had_are_inspected_with_the_others(tmp_path):
    write_atomic_files(tmp_path, sequences([9] * 12, n_items=30), name="shop")
    names = [f"i{n}" for n in range(1, 41)]  # the last ten are new
    (tmp_path / "shop" / "shop.item").write_text("\n".join(["item_id:token", *names]))
    make_table("item_text", names).save(tmp_path / "t.npz")
    words = [str(tmp_path / "t.npz"), "--dataset", "shop", "--data-path", str(tmp_path)]
    words += ["--load_col={inter: [user_id, item_id, timestamp], item: [item_id]}"]
    numbers = tmp_path / "n.json"
    assert main(["inspect", *words, "--json", str(numbers)]) in (0, 1)
    assert json.loads(numbers.read_text())["unknown_tokens"] == 0


def test_titles_do_not_steer_the_terminal(tmp_path, capsys):
    write_atomic_files(tmp_path, sequences([9] * 12, n_items=30), name="shop")
    lines = [f"i{n}\t\x1b[2J{n % 3}" for n in range(1, 31)]
    (tmp_path / "shop" / "shop.item").write_text("\n".join(["item_id:token\ttitle:token", *lines]))
    names = [f"i{n}" for n in range(1, 31)]
    vectors = np.repeat(np.eye(10, 4) + 1, 3, axis=0)  # each three times, which is told
    table = make_table("item_text", names)
    FeatureTable(table.tokens, vectors, table.provenance).save(tmp_path / "t.npz")
    words = [str(tmp_path / "t.npz"), "--dataset", "shop", "--data-path", str(tmp_path)]
    assert main(["inspect", *words]) in (0, 1)
    said = capsys.readouterr().out
    assert "\x1b" not in said and "near \\x1b[2J" in said and "duplicates: 30 rows" in said


def test_an_unknown_item_is_refused(capsys):
    words = [str(SHIPPED / "item_text.npz"), "--dataset", "ml-100k", "--items", "nobody"]
    assert main(["inspect", *words]) == 2
    assert "nobody" in capsys.readouterr().err


def test_inspect_loads_no_heavy_library():
    script = (
        "import sys\n"
        "from ur4rec_recbole.commands.main import main\n"
        f"main(['inspect', {str(SHIPPED / 'item_text.npz')!r}, '--dataset', 'ml-100k'])\n"
        "heavy = {'open_clip', 'sentence_transformers', 'transformers', 'PIL', 'openai', 'timm'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.rstrip().endswith("loaded []"), run.stdout[-300:] + run.stderr[-300:]


def test_neighbours_are_the_nearest_others_in_any_block_size():
    rows = np.random.default_rng(0).normal(size=(30, 5))
    unit = measures.unit(rows, centre=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    expected = np.argsort(-cosine, axis=1)[:, :4]
    assert np.array_equal(measures.neighbours(rows, 4, block=7), expected)
    assert np.array_equal(measures.neighbours(rows, 4), expected)


def test_agreement_sees_clusters_and_finds_the_shift():
    kind = np.random.default_rng(1).integers(0, 4, 80)
    vectors = np.eye(4)[kind] + np.random.default_rng(2).normal(size=(80, 4)) * 0.05
    likeness = measures.label_likeness([[str(label)] for label in kind])
    right = measures.agreement(measures.neighbours(vectors, 5), likeness)
    assert right.own > 0.99 and right.best_lag == 0 and right.z > 10
    shifted = measures.agreement(measures.neighbours(np.roll(vectors, -2, axis=0), 5), likeness)
    assert shifted.best_lag == -2 and abs(shifted.z) < 4


def test_spread_tells_a_cone_from_a_ball():
    ball = np.random.default_rng(0).normal(size=(500, 10))
    cone = ball * 0.01 + 1
    assert abs(measures.spread(ball).mean_cosine) < 0.05
    assert measures.spread(ball).effective_rank > 9
    assert measures.spread(cone).mean_cosine > 0.99
    line = np.outer(np.random.default_rng(1).normal(size=100), np.ones(5))
    assert measures.spread(line).effective_rank == pytest.approx(1, abs=0.01)


def test_duplicates_come_as_groups():
    rows = np.array([[1.0, 2], [3, 4], [1, 2], [5, 6], [3, 4], [1, 2]])
    assert [group.tolist() for group in measures.duplicates(rows)] == [[0, 2, 5], [1, 4]]


def test_label_likeness_is_jaccard():
    likeness = measures.label_likeness([["a", "b"], ["b", "c"], []])
    assert likeness[0, 1] == pytest.approx(1 / 3) and likeness[0, 0] == 1
    assert likeness[2].max() == 0
