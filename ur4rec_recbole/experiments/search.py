"""Search: tries settings of a space and finds the trial that validates best.

`ur4rec tune`: configuration and space -> search.json -> an engine -> trials -> the best.

search.json     what is searched: model, data, settings, space; a search goes on only with the same
study.sqlite    the trials of Optuna (search_optuna.py); ray/ is what Ray Tune keeps (search_ray.py)
trials/0007     the run folder of a trial; trials/0007.log is what its process printed
best.yaml       all settings of the best trial, for `ur4rec train --config-files`

All trials have the configuration's seed, and are scored by its `valid_metric`, on validation data;
test data are not read.
"""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.config import ASKING, configuration
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import (
    atomic_write,
    exclusive_lock,
    read_json,
    require_writable,
    write_json,
)
from ur4rec_recbole.data.fingerprints import source_hash, table_hashes
from ur4rec_recbole.data.loading import check_files
from ur4rec_recbole.experiments import space
from ur4rec_recbole.experiments.tuning import with_setting
from ur4rec_recbole.model.stages import read_stages
from ur4rec_recbole.registration import check_keys
from ur4rec_recbole.runs import quick_start
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.keeping import Pruned
from ur4rec_recbole.runs.resuming import unfinished

FILE, BEST = "search.json", "best.yaml"
OWN = (*ASKING, "run_folder", "checkpoint_dir")  # settings that trials cannot share
STAGE = 10**6  # steps of a stage: epochs are compared with the same epoch of the same stage


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes
    ----------
    engine
        optuna or ray.
    model, dataset, settings
        Of all trials, as the user configured them.
    dimensions
        The content of the space file.
    metric, bigger
        `valid_metric`, and whether more of it is better.
    seed
        Of the drawing; the trials' own is in their configuration.
    startup
        Trials that are drawn at random and run whole, before any is ended early.
    warmup
        Epochs of each stage that are not judged.
    inputs
        Hashes of the data and tables that all trials read.
    """

    engine: str
    model: str
    dataset: str
    settings: Mapping[str, Any]
    dimensions: Mapping[str, Any]
    metric: str
    bigger: bool
    seed: int
    startup: int
    warmup: int
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def drawable(self) -> space.Space:
        """Return what may be drawn."""
        return space.make_space(self.dimensions, FILE)

    def with_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a trial."""
        found = dict(self.settings)
        for key, value in values.items():
            found = with_setting(found, key, value)
        return found


class Trial(NamedTuple):
    """A trial: its folder's name, how it ended (or "running"), its score and its values."""

    name: str
    status: str
    score: float | None
    values: Mapping[str, Any]


def prepare(
    wanted: tuple[str | None, str | None, Sequence[str]],
    words: Sequence[str],
    file: Path,
    engine: str,
    startup: int,
    warmup: int,
) -> Search:
    """Check configuration and space, each value that the space may draw included.

    `wanted` is model, data set and configuration files, `words` are --key=value, `file` the space.
    """
    for option, value in (("--startup", startup), ("--warmup", warmup)):
        if value < (option == "--startup"):
            raise InputError(option, "must not be negative, nor --startup 0", value, "Raise it.")
    with settings_from(words):
        config = configuration(*wanted, None)
    check_keys(config)
    given = {k: v for k, v in config.external_config_dict.items() if k not in ("model", "dataset")}
    for key in OWN:
        if key in given:
            raise InputError(
                f"Configuration key {key!r}", "must be unset in a search", repr(given[key]),
                "Leave it out: each trial is one process with a folder of its own below --output.",
            )  # fmt: skip
    if config["eval_args"]["split"].get("LS") == "test_only":
        raise InputError(
            "Configuration key 'eval_args'", "must have validation data, which a search needs",
            config["eval_args"], "Write for example {split: {LS: valid_and_test}}.",
        )  # fmt: skip
    dimensions = space.read_file(file)
    for key in dimensions:
        outer, inner, _ = key.partition(".")
        if inner and not isinstance(given.get(outer) or {}, Mapping):
            raise InputError(f"{file}: {key}", "must be a key of a mapping", given[outer],
                             f"Name {outer} itself, with choices.")  # fmt: skip
    search = Search(
        engine, config["model"], config["dataset"], json.loads(json.dumps(given)),
        dimensions, config["valid_metric"].lower(), bool(config["valid_metric_bigger"]),
        config["seed"], startup, warmup,
        {"data": source_hash(config), "tables": table_hashes(config)},
    )  # fmt: skip
    drawable = space.make_space(search.dimensions, str(file))
    space.check_values(str(file), drawable, lambda values: _check(search, values))
    return search


def _check(search: Search, values: Mapping[str, Any]) -> None:
    with settings_from():
        config = configuration(search.model, search.dataset, [], search.with_values(values))
    check_keys(config)
    check_files(config)
    if search.model == "UR4Rec":
        read_stages(config)


@contextmanager
def kept(search: Search, folder: Path) -> Iterator[None]:
    """Keep a search in its folder, or go on with the same one there; nobody else does meanwhile."""
    require_writable("--output", folder)
    refusal = InputError(
        f"Folder {folder}", "must be free", "one that another search is running in",
        "Wait for it or name another --output.",
    )  # fmt: skip
    with exclusive_lock(folder / ".lock", refusal):
        now = json.loads(json.dumps(asdict(search)))  # as it will be read
        before = read_json(folder / FILE)
        known = before if isinstance(before, dict) else {}
        known.setdefault("inputs", now["inputs"])  # earlier searches do not tell
        if before is not None and known != now:
            changed = [key for key in now if known.get(key) != now[key]]
            raise InputError(
                f"--output {folder}", "must be a new folder or one of the same search",
                f"one of another: {', '.join(changed)} differ", "Name another --output.",
            )  # fmt: skip
        write_json(folder / FILE, now)
        (folder / "trials").mkdir(exist_ok=True)
        try:
            yield
        except KeyboardInterrupt as error:
            error.args = ("interrupted; the same command goes on",)
            raise


def read(folder: Path) -> Search:
    """Read the search of a folder."""
    return Search(**read_json(folder / FILE))


def train(
    search: Search, values: Mapping[str, Any], folder: Path, worthless: Callable[[int, float], bool]
) -> float:
    """Run a trial in its folder, or go on with it; return its score.

    Raises `Pruned` after an epoch that `worthless`, told its step and score, finds so.
    """

    def judge(epoch: int, score: float) -> None:
        rows = RunFolder.open(folder).epochs()
        stages, last = sum(row["stage_epoch"] == 1 for row in rows), int(rows[-1]["stage_epoch"])
        if last > search.warmup and worthless((stages - 1) * STAGE + last, float(score)):
            raise Pruned(f"after epoch {epoch + 1}")

    if unfinished(folder):
        result = quick_start.run(resume=str(folder), callback_fn=judge)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        own = {"run_folder": str(folder), "evaluated_parts": ["valid"]}
        settings = {**search.with_values(values), **own}
        result = quick_start.run(
            search.model, search.dataset, config_dict=settings, callback_fn=judge
        )
    return float(result["best_valid_score"])


def conclude(search: Search, folder: Path, trials: Sequence[Trial], shown: int = 10) -> str:
    """Write best.yaml; return the table of the best trials and the command that comes next."""
    ended = [each for each in trials if each.status == "done"]
    counts = [f"{sum(t.status == s for t in trials)} {s}" for s in ("done", "pruned", "failed")]
    total = f"{len(trials)} trials: {', '.join(counts)}"
    if not ended:
        return f"{total}; none to choose, see {folder / 'trials'}"
    ended.sort(key=lambda trial: trial.score or 0.0, reverse=search.bigger)
    best = ended[0]
    head = f"# The best of {total}; validation {search.metric} {best.score:.4f}.\n"
    everything = {"model": search.model, "dataset": search.dataset}
    everything |= search.with_values(best.values)
    with atomic_write(folder / BEST) as file:
        file.write((head + yaml.safe_dump(everything, sort_keys=False)).encode())
    rows = [["trial", search.metric, "epochs", *search.dimensions]]
    rows += [_row(each, folder) for each in ended[:shown]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    command = f"ur4rec train --config-files {shlex.quote(str(folder / BEST))}"
    return "\n".join([total, *(line.rstrip() for line in lines), f"next: {command}"])


def _row(trial: Trial, folder: Path) -> list[str]:
    values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in trial.values.values()]
    epochs = len(RunFolder.open(folder / "trials" / trial.name).epochs())
    return [trial.name, f"{trial.score:.4f}", str(epochs), *values]
