"""The README: its Python runs, and each of its numbers is that of a committed result."""

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ur4rec_recbole.reports.benchmark_results import Benchmark, read
from ur4rec_recbole.runs import quick_start

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARK = (ROOT / "docs" / "benchmark-ml-100k.md").read_text(encoding="utf-8")
FOLDERS = {
    "ML-100K": "ml-100k",
    "Amazon Scientific": "amazon-scientific",
    "MovieTweetings": "movietweetings-100k",
}
TABLE_ROW = re.compile(r"^\| (?!data|---)(.*) \|$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
NAMES = re.compile(r"ML-100K|UR4Rec|NDCG@10|HR@10")


@functools.cache
def results(data: str) -> Benchmark:
    return read(ROOT / "docs" / "results" / f"benchmark-{FOLDERS[data]}")


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return results("ML-100K")


def rows() -> list[list[str]]:
    return [row.split(" | ") for row in TABLE_ROW.findall(README)]


def shown(values: np.ndarray) -> str:
    """Return values as the table shows them: the mean over seeds, and the deviation of several."""
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return f"{values.mean():.4f}{spread}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}, {row[1]}")
def test_every_row_of_the_table_is_that_of_its_source(row: list[str]) -> None:
    data, model, seeds, ndcg, hit, source = row
    [(_, page)] = LINK.findall(source)
    if page == "docs/presets.md":  # runs of `ur4rec train`, whose figures stand there
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"| {seeds} | {ndcg} | {hit} |" in text
        return
    values = {
        m: results(data).values(model, "test", "full_masked", m) for m in ("ndcg@10", "hit@10")
    }
    assert int(seeds) == len(values["ndcg@10"])
    assert [ndcg, hit] == [shown(each) for each in values.values()]


def test_the_page_of_results_has_the_same_table() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for data, model, *figures, _ in rows():
        assert f"| {' | '.join([data, model, *figures])} |" in page


def prose_numbers() -> set[str]:
    """Return every number outside tables, code and the targets of links."""
    text = "\n".join(line for line in README.splitlines() if not line.startswith("|"))
    text = NAMES.sub("", CODE.sub("", LINK.sub(r"\1", text)))
    return set(re.findall(r"\d[\d.]*\d%?|\d%?", text))


def test_every_number_of_the_text_is_checked_here(benchmark: Benchmark) -> None:
    gain, p = re.findall(r"([\d.]+%) ahead of the tuned SASRec \(p = ([\d.]+) ", README)[0]
    assert re.search(
        rf"\| UR4Rec small \| ndcg@10 \| [^|]* \| \+{gain} \|[^|]*\|[^|]*\| {p} \|", BENCHMARK
    )
    small, tuned = (
        benchmark.values(name, "test", "full_masked", "ndcg@10").mean()
        for name in ("UR4Rec small", "SASRec tuned")
    )
    assert gain == f"{small / tuned - 1:.1%}"
    leads = set()
    for data, rival, told in (
        ("amazon-scientific", "CORE tuned", "CORE"),
        ("movietweetings-100k", "Transitions", "transitions"),
    ):
        lead = re.findall(rf"([\d.]+%) ahead of {told}", README)[0]
        page = (ROOT / "docs" / f"benchmark-{data}.md").read_text(encoding="utf-8")
        pair = rf"\| UR4Rec sparse without texts \| {rival} \| full_masked \| ndcg@10 \|"
        assert re.search(rf"{pair}.*\| \+{re.escape(lead)} \|", page)
        leads.add(lead)
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "recbole==1.2.1" in setup and 'python_requires=">=3.10"' in setup
    assert "3.10|3.11|3.12|3.13" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert prose_numbers() == {gain, p, *leads, "1.2.1", "3.12", "3.13"}


def test_the_two_commands_have_their_costs(benchmark: Benchmark) -> None:
    minutes = int(re.findall(r"--preset small +# (\d+) minutes on two cores", README)[0])
    assert round(benchmark.seconds("UR4Rec small").mean() / 60) == minutes
    assert "about 3 GB" in README and "about 3 GB" in (ROOT / "Makefile").read_text()


def test_the_readme_takes_two_screens() -> None:
    assert len(README.splitlines()) <= 90


def test_the_python_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    train = quick_start.run

    def briefly(**given: Any) -> Any:
        stages = "--stages=[{name: pretrain_sasrec, epochs: 1}]"
        return train(**given, arguments=[stages, "--hidden_size=16", "--inner_size=16"])

    monkeypatch.setattr(quick_start, "run", briefly)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.strip().splitlines()
    similar = eval(printed[-1])  # a list of item ids that the README prints
    assert len(similar) == 5 and "50" not in similar
