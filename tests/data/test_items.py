"""What a data set says of its items, and what happens where its file is damaged."""

import logging
from pathlib import Path
from typing import Any

import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.items import read_items, read_sound_items

DAMAGED = {
    "latin-1": "item_id:token\ttitle:token\ni1\tcaf\xe9\n".encode("latin-1"),
    "no types": b"item_id\ttitle\ni1\tA\n",
    "no ids": b"title:token\nA\n",
    "empty": b"",
    "short row": b"item_id:token\ttitle:token\ni1\n",
    "utf-16": "item_id:token\ni1\n".encode("utf-16"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_that_is_not_loaded_leaves_genres_out_and_is_told_once(
    toy: Any, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    made = toy()
    (Path(made.config["data_path"]) / "toy.item").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_sound_items(made.train) == {}
        assert read_sound_items(made.valid) == {}
    assert sum("toy.item" in each.message for each in caplog.records) == 1
    with pytest.raises(InputError, match="toy.item"):
        read_items(made.train)


def test_words_of_a_title_come_back_as_they_were(toy: Any) -> None:
    made = toy()
    lines = ["item_id:token\ttitle:token_seq\tgenres:token_seq", 'i1\t"NA" null, \\\tNA Drama']
    (Path(made.config["data_path"]) / "toy.item").write_text("\n".join(lines) + "\n")
    item = read_items(made.train)["i1"]
    assert item.title == '"NA" null, \\' and item.genres == ("NA", "Drama")
