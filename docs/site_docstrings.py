"""Lets the Python reference take types from signatures, where a docstring gives none.

Docstrings of this package name parameters and results without repeating their types, several in a
line where one sentence says it all ("users, values"). The reader of numpy docstrings would give all
of a line the type of the first, and take the name of a result for its type.
"""

from typing import Any

import griffe


class TypesFromSignatures(griffe.Extension):
    """Corrects the sections of every docstring that is read."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Give parameters and results their types."""
        types = {parameter.name: parameter.annotation for parameter in func.parameters}
        _correct(func, types)
        for section in _sections(func, "returns"):
            names = [each.name or str(each.annotation) for each in section.value]
            for name, each in zip(names, section.value, strict=True):
                each.name = name
                each.annotation = func.returns if len(names) == 1 else None

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Give attributes, and what the class is made with, their types."""
        types = {
            name: each.annotation
            for name, each in cls.members.items()
            if isinstance(each, griffe.Attribute)
        }
        made = cls.members.get("__init__")
        if isinstance(made, griffe.Function):
            types |= {parameter.name: parameter.annotation for parameter in made.parameters}
        _correct(cls, types)


def _correct(thing: griffe.Object, types: dict[str, Any]) -> None:
    for kind in ("parameters", "attributes"):
        for section in _sections(thing, kind):
            for each in section.value:
                each.annotation = types.get(each.name)


def _sections(thing: griffe.Object, kind: str) -> list[Any]:
    if thing.docstring is None:
        return []
    return [section for section in thing.docstring.parsed if section.kind.value == kind]
