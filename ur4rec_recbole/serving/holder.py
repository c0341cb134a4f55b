"""Holder: the recommender that a service answers with, and its change for a new one.

A new model is loaded beside the old one and takes its place at once; requests that have begun are
answered by the old one. One that cannot be read leaves the old one in place, and is tried again.
"""

import threading
import time
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError, first_line
from ur4rec_recbole.serving import folders
from ur4rec_recbole.serving.recommender import Recommender

SHOWN = 20  # results of a search


class Holder:
    """Keeps a recommender, and takes a new one where its folder changes.

    Parameters
    ----------
    path
        A run's folder, or a model folder, which may be written anew while it is served.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._seen = folders.manifest(self.path)
        self.recommender = Recommender.load(path)
        self.loaded = time.time()
        self.failures = 0
        self._failed: dict[str, Any] | None = None
        self._ended = threading.Event()

    def reload(self) -> bool:
        """Take what the folder holds now if that is new; tell whether it was.

        One that cannot be read counts once, and is tried again at the next look: memory or a disk
        may have been short of it for a while.
        """
        now = folders.manifest(self.path)
        if not now or now == self._seen:
            return False
        try:
            self.recommender = Recommender.load(self.path)
        except Exception as error:  # of whatever kind: the old model answers, and looks go on
            if now != self._failed:
                self.failures += 1
                getLogger().warning(f"The model stays the one of before: {first_line(error)}")
            self._failed = now
            return False
        self._seen, self._failed = now, None
        self.loaded = time.time()
        getLogger().info(f"{self.path} has been loaded again.")
        return True

    def watch(self, seconds: float) -> None:
        """Look for a new model every so many seconds, in a thread, until `end`."""

        def look() -> None:
            while not self._ended.wait(seconds):
                self.reload()

        threading.Thread(target=look, daemon=True).start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def health(self) -> dict[str, Any]:
        """Say what is served."""
        recommender = self.recommender
        return {
            "status": "ok",
            "model": type(recommender.index.network).__name__,
            "items": len(recommender.index.tokens) - 1,
            "loaded": self.loaded,
            "failed_reloads": self.failures,
        }

    def search(self, query: str) -> list[dict[str, str]]:
        """Return items whose title or id holds a text, those that begin with it first."""
        recommender, wanted = self.recommender, query.strip().casefold()
        found = [
            (not title.casefold().startswith(wanted), title, token)
            for token in recommender.index.ids
            for title in [recommender.titles.get(token, "")]
            if wanted in title.casefold() or wanted in token.casefold()
        ]
        return [{"item": token, "title": title} for _, title, token in sorted(found)[:SHOWN]]

    def add_items(self, items: Sequence[dict[str, Any]]) -> None:
        """Add items, each a mapping of item, title, and text or vectors."""
        tokens = [each["item"] for each in items]
        kinds = {(each["text"] is not None, *sorted(each["vectors"] or ())) for each in items}
        if len(kinds) > 1:
            raise InputError(
                "items", "must all have texts, or all have vectors of the same modalities",
                f"{len(kinds)} kinds", "Send each kind on its own.",
            )  # fmt: skip
        texts = [each["text"] for each in items] if items[0]["text"] is not None else None
        try:
            vectors = {
                name: np.array([each["vectors"][name] for each in items], dtype=np.float32)
                for name in items[0]["vectors"] or ()
            }
        except ValueError as error:
            raise InputError(
                "items: vectors", "must be as long as each other", error, "Use one encoder."
            ) from error
        titles = {each["item"]: each["title"] for each in items if each["title"]}
        self.recommender.add_items(tokens, vectors, texts, titles=titles)
