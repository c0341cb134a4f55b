"""Reading YAML: nothing is executed, and a file that cannot be read is an `InputError`.

Numbers such as 1e-3 are numbers, as in RecBole. Dates stay text, and so do 1:30 and 020, which
PyYAML takes for 90 and 16. Duplicate keys are refused, where PyYAML would keep the last one.
"""

import math
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ur4rec_recbole.core.errors import InputError

FLOAT = re.compile(
    r"[-+]?(?:\d[\d_]*)?\.[\d_]+(?:[eE][-+]?\d+)?|[-+]?\d[\d_]*\.?(?:[eE][-+]?\d+)|[-+]?\d[\d_]*\."
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+")
MOST = 100_000  # values of a file, those behind aliases counted each time
SHIPPED = Path(__file__).parents[1]  # the installed package
CHECKOUT = SHIPPED.parent


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the rules above."""

    # A copy: the base class's resolvers are shared by all users of PyYAML.
    yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if tag not in _OWN]
        for _OWN in [{f"tag:yaml.org,2002:{name}" for name in ("float", "int", "timestamp")}]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping whose keys are distinct."""
        if isinstance(node, yaml.MappingNode):  # before << is written out
            seen = set()
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:merge" and (key.tag, str(key.value)) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


for _name, _rule in (("float", FLOAT), ("int", INTEGER)):
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_rule.pattern})$"), list("-+0123456789.")
    )


def parse(text: str) -> Any:
    """Parse YAML text; raises `yaml.YAMLError` or `ValueError` if it is invalid."""
    try:
        value = yaml.load(text, Loader=Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"a tag does not fit its text: {error}") from error
    if _size(value, {}) > MOST:
        raise ValueError(f"more than {MOST} values, those behind aliases counted each time")
    return value


def _size(value: Any, known: dict[int, float]) -> float:
    """Return how many values a value holds; UnicodeError for half a character.

    `known` holds the sizes of lists and mappings by their `id`: an alias is the same object again.
    """
    if isinstance(value, str):
        value.encode()
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf  # of an alias inside itself
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(each, known) for each in inside)
    return known[id(value)]


def read_mapping(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Read a file that holds a mapping, or nothing.

    Parameters
    ----------
    path
        As given, or as `find_file` finds it.
    what
        Names the file in messages: "config_files", "plan".
    """
    file = find_file(path)
    if not os.path.isfile(file):
        raise InputError(
            f"{what}: {path}", "must be a file", "none of that name", "Check the path."
        )
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(
            f"{what}: {path}", "must be YAML in UTF-8", " ".join(str(error).split())[:300],
            "Correct the file; indent with spaces.",
        ) from error  # fmt: skip
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(
            f"{what}: {path}", "must hold `key: value` lines", f"a {type(found).__name__}",
            "Write for example `epochs: 10`.",
        )  # fmt: skip
    return found


def find_file(path: str | os.PathLike[str]) -> Path:
    """Return where a file lies: as given, or else as the package ships it.

    properties/small.yaml and dataset/ml-100k/item_text.npz are found in the checkout or in the
    installed package, wherever a program is started.
    """
    given = Path(path)
    if given.is_absolute() or os.path.exists(given):
        return given
    places = [CHECKOUT / given, SHIPPED / given]
    if given.parts[:1] == ("properties",):
        places.append(SHIPPED / "presets" / Path(*given.parts[1:]))
    return next((place for place in places if os.path.exists(place)), given)
