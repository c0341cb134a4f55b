"""RunResult: what `run` returns, by name and as the mapping that RecBole's callers know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ur4rec_recbole.monitoring.findings import Finding


@dataclass(frozen=True, eq=False)
class RunResult(Mapping[str, Any]):
    """A run that has ended.

    As a mapping it has `best_valid_score`, `model_file` (RecBole's checkpoint), `run_folder`, and
    for a split with one target a user the `valid` and `test` metrics by protocol; for any other
    split RecBole's `test_result`.

    Attributes
    ----------
    model
        The trained network, with its best weights; None where several processes have trained it,
        of which `load(folder)` returns it.
    metrics
        {"valid" or "test": {protocol: {metric: value}}}; the protocol of another split than
        one-target-a-user is "recbole".
    folder
        Where the run is kept; None where another process keeps it.
    findings
        What the monitor found.
    entries
        What the mapping holds.
    """

    model: Any
    metrics: dict[str, dict[str, dict[str, float]]]
    folder: Path | None
    findings: list[Finding]
    entries: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"RunResult({self.entries})"
