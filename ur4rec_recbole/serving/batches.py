"""Recommendations for many users into a file, in batches; what was killed goes on where it was.

Each finished batch lies in OUT.parts/ until all are done; then they become one file. A restart with
other inputs begins anew.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import (
    atomic_write,
    read_json,
    remove_temporary,
    sole_use,
    write_json,
)
from ur4rec_recbole.serving.recommender import Recommender
from ur4rec_recbole.serving.requests import Later

BATCH = 1000  # users
PLAIN = str | int | float | bool | list | None  # settings that are told apart
JOB = "job.json"  # in OUT.parts/, what its batches are of
WRITERS: dict[str, Callable[[pd.DataFrame, Any], Any]] = {
    ".csv": lambda table, file: table.to_csv(file, index=False),
    ".tsv": lambda table, file: table.to_csv(file, index=False, sep="\t"),
    ".jsonl": lambda table, file: table.to_json(
        file, orient="records", lines=True, force_ascii=False
    ),
    ".parquet": lambda table, file: table.to_parquet(file, index=False),
}


def check_output(out: Path) -> None:
    """Raise `InputError` for a file that no writer knows."""
    if out.suffix not in WRITERS or out.is_dir():
        raise InputError(
            "--out", f"must be a file named {', '.join(WRITERS)}", out.name, "Rename it."
        )


def recommend_to_file(
    recommender: Recommender,
    users: Sequence[str],
    out: Path,
    since: Any = None,
    advance: Callable[[int], None] = lambda count: None,
    batch: int = BATCH,
    **options: Any,
) -> int:
    """Write the recommendations of all users; return how many batches were found done.

    Parameters
    ----------
    recommender, users, since
        As `Recommender.recommend_users` takes them.
    out
        A .csv, .tsv, .jsonl or .parquet file.
    advance
        Told how many users each batch had.
    batch
        Users a batch.
    options
        Further options of `recommend_users`.
    """
    check_output(out)
    parts = out.with_name(f"{out.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    with sole_use(parts, f"--out {out}"):
        remove_temporary(parts, r"job\.json|\d+\.jsonl")
        later, known = Later.read(since), read_json(parts / JOB)
        digest = _digest(recommender, users, later, batch, options)
        if known is None and any(parts.iterdir()):
            raise InputError(
                str(parts), "must be free, or hold batches of this command", "other files",
                "Remove it yourself, or choose another --out.",
            )  # fmt: skip
        if not isinstance(known, dict) or known.get("digest") != digest:
            _remove(parts)
            known = {"digest": digest, "now": time.time()}
            write_json(parts / JOB, known)
        if options.get("now") is None and recommender.histories.has_real_times():
            options["now"] = known["now"]  # of all batches, on whichever day they are made
        done = 0
        files = []
        for start in range(0, len(users), batch):
            chosen = users[start : start + batch]
            file = parts / f"{start}.jsonl"
            files.append(file)
            done += file.exists()
            if not file.exists():
                table = recommender.recommend_users(chosen, later, **options)
                with atomic_write(file) as written:
                    WRITERS[".jsonl"](table, written)
            advance(len(chosen))
        read = [_read(file) for file in files if file.stat().st_size > 1]
        table = pd.concat(read) if read else pd.DataFrame(columns=["user", "rank", "item", "score"])
        with atomic_write(out) as written:
            WRITERS[out.suffix](table, written)
        _remove(parts)
    return done


def _remove(parts: Path) -> None:
    """Remove the batches of this command, and the folder if it is then empty."""
    for file in [*parts.glob("[0-9]*.jsonl"), parts / JOB]:
        file.unlink(missing_ok=True)
    if not any(parts.iterdir()):
        parts.rmdir()


def _read(file: Path) -> pd.DataFrame:
    with open(file, encoding="utf-8") as lines:
        return pd.DataFrame([json.loads(line) for line in lines])


def _digest(
    recommender: Recommender,
    users: Sequence[str],
    later: Later,
    batch: int,
    options: dict[str, Any],
) -> str:
    """Return the SHA-256 of all that the result depends on."""
    digest = hashlib.sha256()
    index, histories = recommender.index, recommender.histories
    values = dict(index.network.state_dict()) | dict(index.network.named_buffers())
    arrays = {name: value.cpu().numpy() for name, value in values.items()}
    arrays |= {name: getattr(histories, name) for name in ("offsets", "items", "times")}
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    config = getattr(index.config, "final_config_dict", index.config)
    settings = {key: config[key] for key in config if isinstance(config[key], PLAIN)}
    table = {user: [list(part[name]) for name in ("item_id", "timestamp")]
             for user, part in later.items()}  # fmt: skip
    tokens = list(index.tokens)
    kept = {key: list(value) if isinstance(value, set | tuple) else value
            for key, value in options.items()}  # fmt: skip
    told = [settings, tokens, list(users), table, batch, kept]
    digest.update(json.dumps(told, sort_keys=True, default=str).encode())
    return digest.hexdigest()
