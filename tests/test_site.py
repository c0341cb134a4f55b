"""The site: every key of the configuration is in its reference, every page in its menu."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ur4rec_recbole.core.config import recbole_rules, schema

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def hooks() -> Any:
    found = importlib.util.spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_reference_has_every_key_with_its_default_and_meaning(hooks: Any) -> None:
    page = hooks.on_page_markdown((DOCS / "configuration.md").read_text(encoding="utf-8"))
    keys = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    models = ("UR4Rec", "UR4RecEnsemble", "ItemTransition", "SequentialEASE", "ContentKNN",
              "RecentPopularity", "External")  # fmt: skip
    assert set(keys) == {*recbole_rules(), "exclude_history", "quick_layers"}.union(
        *map(schema, models)
    )
    assert "| `n_layers` | Transformer blocks. | `2` | int, &gt;= 1 |" in page
    assert "one of gelu, relu, swish" in page and "<!-- keys" not in page


def test_a_line_without_a_meaning_is_an_error(hooks: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(hooks, "DEFAULTS", tmp_path)
    (tmp_path / "Some.yaml").write_text("# Some\nkey: 3\n")
    with pytest.raises(ValueError, match="no key with a rule and a meaning: key: 3"):
        hooks.key_tables("Some")


def test_links_out_of_the_pages_become_their_text(hooks: Any) -> None:
    given = "[`a`](../properties/a.yaml) and [b](b.md)"
    assert hooks.on_page_markdown(given) == "`a` and [b](b.md)"


def test_the_reference_takes_types_from_signatures() -> None:
    griffe = pytest.importorskip("griffe", reason="comes with the extra docs")
    extensions = griffe.load_extensions(str(DOCS / "site_docstrings.py"))
    package = griffe.load(
        "ur4rec_recbole", search_paths=[ROOT], extensions=extensions, docstring_parser="numpy"
    )
    sections = {
        each.kind.value: each.value for each in package["runs.quick_start.run"].docstring.parsed
    }
    types = {each.name: str(each.annotation) for each in sections["parameters"]}
    assert types["model"] == "str | None"
    assert types["config_dict"] == "Mapping[str, Any] | None"
    [result] = sections["returns"]
    assert (result.name, str(result.annotation)) == ("result", "RunResult")


def test_every_page_is_in_the_menu() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"'([\w-]+\.md)'", str(settings["nav"]))
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))
