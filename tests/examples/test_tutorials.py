"""The tutorials: what they show can be typed as it stands, one line after the other."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ur4rec_recbole.commands.main import main

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BRIEFLY = ["--stages=[{name: pretrain_sasrec, epochs: 2}, {name: pretrain_retriever, epochs: 1}]"]
WAITS = ("ur4rec serve",)  # test_shop.py asks a service


def lines(page: str) -> list[tuple[str, str]]:
    """Return what a page shows to be run, in order: lines of a shell, whole Python blocks."""
    found = []
    for kind, text in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        found += (
            [(kind, text)] if kind == "python" else [(kind, line) for line in text.splitlines()]
        )
    return found


def follow(kind: str, text: str) -> None:
    if kind == "python":
        exec(compile(text, "tutorial", "exec"), {})
    elif text.startswith("python "):
        words = shlex.split(text)[1:]
        subprocess.run([sys.executable, ROOT / words[0], *words[1:]], check=True)
    else:
        words = shlex.split(text)
        assert words[0] == "ur4rec"
        is_ours = words[1] == "train" and "--preset" in words
        assert main([*words[1:], *(BRIEFLY if is_ours else [])]) == 0, text


def test_a_shop_comes_from_its_tables_to_an_exported_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = [each for each in lines("tutorial-shop.md") if not each[1].startswith(WAITS)]
    assert len(shown) >= 10
    for kind, text in shown:
        follow(kind, text)
        if "inspect" in text:
            printed = capsys.readouterr().out
            assert "Are the ids right? yes" in printed and "Are the vectors useful? yes" in printed
    assert Path("runs/shop/report.html").is_file() and Path("models/shop/manifest.json").is_file()


def test_the_difference_of_the_benchmark_is_tested_as_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    [code] = [text for kind, text in lines("tutorial-research.md") if "paired" in text]
    follow("python", code)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [gain] = re.findall(r"([\d.]+%) ahead of the tuned SASRec", readme)
    assert capsys.readouterr().out.startswith(f"+{gain}, p = 0.0")
