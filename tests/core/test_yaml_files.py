"""YAML: data alone, read the same way everywhere, and refused where it would surprise."""

from pathlib import Path

import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import parse, read_mapping

BOMB = "\n".join(
    [f"a: &a [{', '.join('x' * 9)}]"]
    + [
        f"{key}: &{key} [{', '.join([f'*{of}'] * 9)}]"
        for of, key in zip("abcdef", "bcdefg", strict=True)
    ]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("12", 12), ("-3", -3), ("+3", 3), ("2_020", 2020), ("0", 0),
        ("0x10", 16), ("020", "020"), ("1:30", "1:30"), ("0b11", "0b11"),
        ("2024-01-05", "2024-01-05"), ("1.", 1.0), (".inf", float("inf")),
        ("yes", True), ("~", None),
        ("[&a [1], *a]", [[1], [1]]),
    ],
)  # fmt: skip
def test_values_are_what_they_look_like(text: str, value: object) -> None:
    assert parse(text) == value and type(parse(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        BOMB, "a: &a [*a]", "a: &a {b: *a}", "[" * 5000, 'a: "\\ud800"', "a: 1\n---\na: 2",
        "a: !!bool perhaps", "a: !!timestamp x", "a: !!int ''", "a: !!float x", "a: " + "9" * 5000,
        "a: !!python/object/apply:os.getpid []", "a: !!python/name:os.system", "!!python/module:os",
        "a: 1\na: 2", "a: {b: 1, b: 2}", "? [a]\n: 1", "1: 2", ".nan: 1", "a: \0",
    ],
)  # fmt: skip
def test_what_would_surprise_is_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match="plan: .*x.yaml must"):
        read_mapping(tmp_path / "x.yaml", "plan")
