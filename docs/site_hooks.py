"""What MkDocs is told to do while it builds the site, beyond its own.

- `<!-- keys: UR4Rec -->` in a page becomes tables of the keys of defaults/UR4Rec.yaml, with the
  defaults, types and meanings that stand there and are checked.
- A link that leads out of docs/, to a file of the repository, becomes its text.
"""

import html
import re
from pathlib import Path
from typing import Any

DEFAULTS = Path(__file__).parents[1] / "ur4rec_recbole" / "defaults"
PLACE = re.compile(r"^<!-- keys: (\w+) -->$", re.MULTILINE)
KEY = re.compile(r"^(?P<key>\w+): (?P<default>.*?)\s+# \((?P<rule>[^)]*)\) (?P<meaning>.*)$")
OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables of keys, and leave out links to what is not part of the site."""
    filled = PLACE.sub(lambda found: key_tables(found[1]), markdown)
    return OUTSIDE.sub(r"\1", filled)


def key_tables(name: str) -> str:
    """Return the keys of defaults/NAME.yaml as Markdown, a table for each of its sections.

    Raises
    ------
    ValueError
        For a line that is neither a key with its rule and meaning, nor a comment, nor empty.
    """
    lines = (DEFAULTS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[1:]
    show_defaults = name != "recbole"  # its values are not used
    head = ["key", "meaning", *(["default"] if show_defaults else []), "type"]
    parts: list[str] = []
    open_table = False
    for line in lines:
        found = KEY.match(line)
        if line.startswith("# "):
            parts += ["", f"#### {line[2:]}", ""]
            open_table = False
        elif found:
            if not open_table:
                parts += ["", _row(head), _row(["---"] * len(head))]
                open_table = True
            default = [_code(found["default"])] if show_defaults else []
            rule = html.escape(found["rule"]).replace("|", ", ")
            parts.append(_row([_code(found["key"]), _text(found["meaning"]), *default, rule]))
        elif line:
            raise ValueError(f"{name}.yaml: no key with a rule and a meaning: {line}")
    return "\n".join(parts)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(value: str) -> str:
    return f"`{value}`" if value else ""


def _text(meaning: str) -> str:
    return html.escape(meaning, quote=False).replace("|", "\\|").replace("{", "&#123;")
