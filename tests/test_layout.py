"""The house: folders import from those above them in the list alone, files never in a circle."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ur4rec_recbole"
FLOORS = (
    "core", "patches", "data", "datasets", "evaluation", "model", "extract", "inspection",
    "monitoring", "training", "runs", "serving", "experiments", "reports", "commands",
)  # fmt: skip
# registration names the classes of model and training, and whatever runs needs them registered.
REGISTRATION = "training"
FILES = sorted(PACKAGE.rglob("*.py"))


def module(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(file): file for file in FILES}


def imports(file: Path, text: str | None = None) -> set[str]:
    """Return the modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(text or file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        found |= {name for name in names if name in MODULES}
    return found - {"ur4rec_recbole"}


def floor(name: str) -> int | None:
    parts = name.split(".")
    if parts[-1] == "registration":
        return FLOORS.index(REGISTRATION)
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else None


def upward(name: str, imported: set[str]) -> list[str]:
    own = floor(name)
    if own is None:  # the package's own entry points stand above all floors
        return []
    return [each for each in sorted(imported) if (floor(each) or 0) > own]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle, or nothing."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for each in sorted(graph.get(name, ())):
            found = walk(each, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := walk(name, []))), [])


@pytest.mark.parametrize("name", MODULES)
def test_a_file_imports_from_the_floors_above_it_alone(name: str) -> None:
    assert upward(name, imports(MODULES[name])) == []


def test_every_file_stands_on_a_floor() -> None:
    loose = {name for name in MODULES if floor(name) is None}
    assert loose == {"ur4rec_recbole", "ur4rec_recbole.__main__"}


def test_no_file_imports_in_a_circle() -> None:
    assert circle({name: imports(file) - {name} for name, file in MODULES.items()}) == []


def test_the_checks_can_fail() -> None:
    up = "from ur4rec_recbole.model.ur4rec import UR4Rec"
    found = upward("ur4rec_recbole.core.files", imports(FILES[0], up))
    assert found == ["ur4rec_recbole.model.ur4rec"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
