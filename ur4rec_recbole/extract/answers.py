"""Answers of a language model on disk, so that none is paid for twice.

An SQLite file keyed by a hash of model, prompt and request settings; every answer is committed as
soon as it has arrived, so that a killed run loses at most those still under way.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.extract.prompts import Prompt


class Answer(NamedTuple):
    """A model's answer, with the token counts that the endpoint reports."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class AnswerCache:
    """Answers by key.

    Parameters
    ----------
    path
        The SQLite file, made where needed.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        with self._told():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")  # kept through a power cut, too
            with self._database:
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, "
                    "prompt_tokens INTEGER, completion_tokens INTEGER)"
                )

    def get(self, key: str) -> Answer | None:
        """Return the answer, if there is one."""
        with self._told():
            row = self._database.execute(
                "SELECT text, prompt_tokens, completion_tokens FROM answers WHERE key = ?", (key,)
            ).fetchone()
        if row and not isinstance(row[0], str):
            raise InputError(
                f"cache {self._path.name!r}", "must hold texts", f"a {type(row[0]).__name__}",
                "Name another file with --cache.",
            )  # fmt: skip
        return Answer(*row) if row else None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; on return it is on disk."""
        with self._told(), self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, *answer)
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise `InputError` for a file that is foreign, damaged, read-only or on a full disk."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"cache {self._path.name!r}", "must be an SQLite file of answers to write to",
                error, "Name another file with --cache, or make room.",
            ) from error  # fmt: skip


def answer_key(model: str, prompt: Prompt, request: Mapping[str, object]) -> str:
    """Return the hash that identifies a request."""
    words = json.dumps([model, prompt.messages, dict(request)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()
