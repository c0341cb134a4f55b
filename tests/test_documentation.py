"""The documentation names commands, options, files and folders that there are."""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layout import FLOORS
from ur4rec_recbole.commands.main import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ur4rec_recbole"
LOG = ROOT / "docs" / "log.md"  # a record of its time: what it names may have moved since
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted(ROOT.glob("docs/*.md")) if page != LOG),
    ROOT / "dataset" / "ml-100k" / "README.md",
]
MODULES = sorted(PACKAGE.rglob("*.py"))
MADE_BY_RUNS = {"dataset/synthetic"}
TOP = {path.name for path in ROOT.iterdir() if path.name not in ("runs", "saved", "log")}
PLACEHOLDER = re.compile(r"[<>{}*]|NAME|\.\.\.")


def text_of(file: Path) -> str:
    """Return a page, or all docstrings of a module."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def commands(text: str, program: str) -> list[str]:
    """Return what follows `program` in lines of code and between backticks, comments left out."""
    lines = re.findall(rf"^ *{program} ([^\n`]+)$", text, re.MULTILINE)
    inline = re.findall(rf"`{program} ([^`\n]+)`", text)
    return [re.split(r"\s{2,}|\s#|\s\(", line.strip())[0] for line in lines + inline]


def known_options(words: list[str]) -> set[str]:
    """Return the options of a sub-command, and of its kind of table or data set, if any."""
    module = importlib.import_module(f"ur4rec_recbole.commands.{words[0].replace('-', '_')}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and words[1:]:
            for kind in set(words[1].split("|")) & set(action.choices):
                found |= set(action.choices[kind]._option_string_actions)
    return found


def faults(command: str) -> Iterator[str]:
    words = shlex.split(command)
    if words[0].startswith("-"):
        return
    if words[0] not in COMMANDS:
        yield f"no sub-command {words[0]}"
        return
    module = importlib.import_module(f"ur4rec_recbole.commands.{words[0].replace('-', '_')}")
    options = known_options(words)
    for word in words[1:]:
        is_setting = "=" in word and getattr(module, "TAKES_SETTINGS", False)
        if word.startswith("--") and word.split("=")[0] not in options and not is_setting:
            yield f"no option {word} of {words[0]}"
        if word.startswith(("properties/", "docs/", "dataset/ml-100k/")) and not exists(word):
            yield f"no file {word}"


def exists(name: str) -> bool:
    """Tell whether a path is in the repository or the package, a bare name anywhere in it."""
    if "/" not in name:
        return any(ROOT.glob(name)) or any(PACKAGE.rglob(name)) or any(ROOT.glob(f"*/{name}"))
    return (ROOT / name).exists() or (PACKAGE / name).exists()


def named_files(page: Path) -> list[str]:
    """Return what a page calls by the path of a file or folder of the repository."""
    words = re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8"))
    return [
        word
        for word in words
        if word not in MADE_BY_RUNS
        and not PLACEHOLDER.search(word)
        and (word.endswith(".py") or ("/" in word and word.split("/")[0] in TOP | set(FLOORS)))
    ]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", [*PAGES, *MODULES], ids=name_of)
def test_every_command_shown_can_be_typed(file: Path) -> None:
    shown = commands(text_of(file), "ur4rec")
    assert [fault for command in shown for fault in faults(command)] == []


@pytest.mark.parametrize("file", [*PAGES, *MODULES], ids=name_of)
def test_every_module_shown_can_be_run(file: Path) -> None:
    modules = [line.split()[0] for line in commands(text_of(file), "python -m")]
    ours = [name for name in modules if name.split(".")[0] in ("tests", "ur4rec_recbole")]
    assert [name for name in ours if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_shown_is_one_word_to_a_shell(page: Path) -> None:
    shown = re.findall(r"`(\"?--[\w-]+=[^`\n]*)`", page.read_text(encoding="utf-8"))
    words = [word for each in shown for word in shlex.split(each)]
    assert [word for word in words if not word.startswith("--")] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_target_of_make_is_there(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = commands(page.read_text(encoding="utf-8"), "make")
    assert {line.split()[0] for line in shown} <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    ours = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in ours if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return the names by which links reach the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    wrong = [
        (file, anchor)
        for file, anchor in links
        if (page.parent / file if file else page).suffix == ".md"
        and anchor not in anchors(page.parent / file if file else page)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_named_is_there(page: Path) -> None:
    assert [name for name in named_files(page) if not exists(name)] == []


def test_contributing_lists_the_folders_from_the_bottom_up() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert tuple(rows) == FLOORS


def test_the_checks_can_fail(tmp_path: Path) -> None:
    shown = "    ur4rec train --presett small   # a comment\n`ur4rec extract text --write llm`\n"
    found = [list(faults(command)) for command in commands(shown, "ur4rec")]
    assert found == [["no option --presett of train"], []]
    assert list(faults("trian --preset small")) == ["no sub-command trian"]
    assert list(faults("doctor --config-files properties/no.yaml")) == [
        "no file properties/no.yaml"
    ]
    page = tmp_path / "page.md"
    page.write_text("`model/gone.py`, `model/losses.py`, `gone.py`, `runs/x`, `defaults/NAME.yaml`")
    named = named_files(page)
    assert [name for name in named if not exists(name)] == ["model/gone.py", "gone.py", "runs/x"]
