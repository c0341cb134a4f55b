"""RecBole's Config takes values for what they are, and executes none of them."""

from pathlib import Path
from typing import Any

import pytest
from recbole.config import Config

from ur4rec_recbole.core.command_line import INTERVALS, settings_from
from ur4rec_recbole.core.errors import InputError

CODE = "__import__('pathlib').Path('executed').touch()"


def given(*words: str, **settings: Any) -> Config:
    with settings_from(words):
        return Config("UR4Rec", "ml-100k", config_dict={"state": "ERROR"} | settings)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("[5, 10]", [5, 10]),
        ("['Hit','NDCG']", ["Hit", "NDCG"]),
        ("1e-3", 1e-3),
        ("None", None),
        ("True", True),
        ("a=b", "a=b"),
        ("2024-01-05", "2024-01-05"),
        ("{'a': [1, None]}", {"a": [1, None]}),
        (CODE, CODE),
    ],
)
def test_a_value_of_the_command_line_is_read_as_data(words: str, value: Any) -> None:
    with settings_from([f"--anything={words}"]):
        assert Config._load_cmd_line(None) == {"anything": value}


@pytest.mark.parametrize("key", INTERVALS)
@pytest.mark.parametrize("interval", ["[5,10]", "[5,inf)", "(0,3);[9,10]"])
def test_an_interval_stays_the_text_that_recbole_wants(key: str, interval: str) -> None:
    assert given(f"--{key}={interval}")[key] == interval
    assert given(**{key: interval})[key] == interval


def test_a_list_in_quotes_becomes_that_list() -> None:
    assert given(topk="[5, 10]")["topk"] == [5, 10]


def test_nothing_is_executed(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f'genre_field: "{CODE}"\n')
    assert given(f"--genre_field={CODE}")["genre_field"] == CODE
    assert given(genre_field=CODE)["genre_field"] == CODE
    config = Config("UR4Rec", "ml-100k", [str(tmp_path / "x.yaml")], {"state": "ERROR"})
    assert config["genre_field"] == CODE
    with pytest.raises(InputError, match="'epochs'"):
        given(f"--epochs={CODE}")
    assert not Path("executed").exists()
