"""Recommender: what a program that wants recommendations talks to, in tokens.

recommender = Recommender.load("runs/shop")
recommender.recommend(["P001", "P042"], k=5).items
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import torch

import ur4rec_recbole
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.items import read_items
from ur4rec_recbole.data.modalities import Origin
from ur4rec_recbole.model.objective import item_counts
from ur4rec_recbole.model.recent_popularity import RecentPopularity
from ur4rec_recbole.model.ur4rec import UR4Rec
from ur4rec_recbole.serving import folders
from ur4rec_recbole.serving.explanation import Explanation, explain
from ur4rec_recbole.serving.histories import History, UserHistories, with_histories
from ur4rec_recbole.serving.index import Index
from ur4rec_recbole.serving.network import ServedUR4Rec
from ur4rec_recbole.serving.new_content import ContentEncoders, learned_beside
from ur4rec_recbole.serving.ranking import Recommendations, best, require_number, table, top
from ur4rec_recbole.serving.requests import Later, RequestReader
from ur4rec_recbole.serving.tokens import Id, as_list, as_token, as_tokens, is_list


class Recommender:
    """Recommends items for histories of anybody, whether training knew them or not.

    All methods may be called from several threads. Scores compare items of one history only. Ids
    are tokens; a number stands for the token that a table's number is written as.

    Parameters
    ----------
    index
        The catalogue and its network.
    histories
        What each known user has had.
    titles
        Title by token, where there are any.
    learned
        File of what the encoder of the texts has learned, where it is one that learns.
    """

    def __init__(
        self,
        index: Index,
        histories: UserHistories,
        titles: Mapping[str, str] | None = None,
        learned: Path | None = None,
    ) -> None:
        self.index = index
        self.histories = histories
        self.titles = dict(titles or {})
        self._reader = RequestReader(histories)
        self._growing = Lock()
        self._encoders = ContentEncoders(learned)

    @classmethod
    def from_model(cls, model: Any, train: Any, all_interactions: bool = False) -> "Recommender":
        """Serve a trained model, a copy of it where it is UR4Rec.

        Parameters
        ----------
        model
            UR4Rec, or any sequential model that scores all items.
        train
            The training part of its data set.
        all_interactions
            Whether histories of known users include validation and test: for use, not to measure.
        """
        train = with_histories(model, train)
        tokens = [str(token) for token in train.field2id_token[train.iid_field]]
        titles = {key: item.label for key, item in read_items(train).items() if item.label}
        histories, counts = UserHistories.of(train, all_interactions), item_counts(train)
        if isinstance(model, UR4Rec):
            network = ServedUR4Rec.of(model, counts)
            index = Index(tokens, network, network.config)
            return cls(index, histories, titles, learned_beside(train.config))
        needs_none = isinstance(model, RecentPopularity) and train.config["request_time"]
        popularity = None if needs_none else counts.float().log1p()
        return cls(Index(tokens, model.eval(), train.config, popularity), histories, titles)

    @classmethod
    def load(cls, path: str | Path) -> "Recommender":
        """Read a model folder that `save` wrote, or a run's folder with its data.

        Of a run, histories of known users include validation and test interactions.
        """
        folder = Path(path)
        if folders.exists(folder):
            return cls(*folders.read(folder))
        found = ur4rec_recbole.load(path)
        return cls.from_model(found.model, found.train, all_interactions=True)

    def save(self, path: str | Path) -> None:
        """Write a folder that `load` reads without data set and without unpickling anything."""
        folders.write(Path(path), self.index, self.histories, self.titles, self._encoders.learned)

    def recommend(
        self,
        items: Sequence[Id] | Sequence[Sequence[Id]],
        times: Any = None,
        now: Any = None,
        k: int = 10,
        exclude: Iterable[Id] = (),
        include_only: Iterable[Id] | None = None,
        new_items: Mapping[Id, Any] | None = None,
        user: Id | None = None,
        repeat: bool = False,
        only_new: bool = False,
    ) -> Any:
        """Recommend items for one history, or for many.

        Parameters
        ----------
        items
            Tokens, oldest first, or a list of such lists. Without any, popular items come.
        times
            When: seconds or ISO dates, as `items` is shaped. Without them, interactions are taken
            to be as far apart as they usually are, up to now; many models do not read them.
        now
            When the request is made; the clock unless told.
        k
            How many.
        exclude, include_only
            Tokens never, or alone, to recommend.
        new_items
            For this call, items that the catalogue lacks: as `add_items` takes them, by token.
        user
            Whose history it is, for models with user profiles.
        repeat
            Whether items of the history may be recommended.
        only_new
            Whether to recommend items without training interactions alone: a list of their own,
            for a history that is not empty (else nothing tells them apart). Beside others they
            have the share of places that `new_item_share` gave them in training.

        Returns
        -------
        recommendations
            For one history `Recommendations`; for many a table with the columns history (its
            place), rank (from 1), item and score, and `attrs["unknown"]` by place.
        """
        index = self._index_with(new_items)
        items = as_list(items, "items")
        many = len(items) > 0 and is_list(items[0])
        lists: Any = items if many else [items]
        when = times if many or times is None else [times]
        histories = self._reader.histories(index, lists, when, now, user)
        found = best(index, histories, k, exclude, include_only, repeat, only_new)
        return table("history", range(len(found)), found) if many else found[0]

    def recommend_users(
        self,
        users: Sequence[Id],
        since: Any = None,
        now: Any = None,
        k: int = 10,
        exclude: Iterable[Id] = (),
        include_only: Iterable[Id] | None = None,
        repeat: bool = False,
        only_new: bool = False,
    ) -> pd.DataFrame:
        """Recommend items to users by id.

        Parameters
        ----------
        users
            Tokens. One that is nowhere known gets popular items.
        since
            A pandas or polars table of further interactions (user, item, time), such as today's,
            of known users and of others. What is known already is not counted twice.
        now, k, exclude, include_only, repeat, only_new
            As in `recommend`.

        Returns
        -------
        table
            Columns user, rank, item, score; `attrs["unknown"]`, item tokens by user.
        """
        index, later = self.index, Later.read(since)
        histories = [
            self._reader.user_history(index, each, later.get(each), now)
            for each in as_tokens(users, "users")
        ]
        found = best(index, histories, k, exclude, include_only, repeat, only_new)
        return table("user", users, found)

    def read(self, items: Sequence[Id], times: Any = None, now: Any = None) -> History:
        """Return a history as a model reads it; arguments as in `recommend`."""
        return self._reader.history(self.index, items, times, now, None)

    def user_history(self, user: Id, later: Any = None, now: Any = None) -> History:
        """Return what a user has had; see `recommend_users`."""
        return self._reader.user_history(self.index, user, later, now)

    def similar_items(self, token: Id, k: int = 10) -> Recommendations:
        """Return the items that are most like one to the model, with their cosines."""
        index = self.index
        item = index.require(as_token(token, "item"))
        scores = index.similar(item)
        scores[[0, item]] = -torch.inf
        return top(index, scores.unsqueeze(0), require_number(k), [()])[0]

    def add_items(
        self,
        tokens: Sequence[Id],
        vectors: Mapping[str, np.ndarray] | None = None,
        texts: Sequence[str] | None = None,
        encoder: Any = None,
        images: Sequence[str | Path] | None = None,
        image_encoder: Any = None,
        titles: Mapping[Id, str] | None = None,
    ) -> None:
        """Add items that training has not seen; their content scores them, without training.

        Parameters
        ----------
        tokens
            n ids that are not taken.
        vectors
            By modality ("text", "image", ...), [n, W] as in the training tables.
        texts
            n texts, encoded as the training table was.
        encoder
            A `TextEncoder` for the texts; the table's own unless told.
        images
            n image files, encoded as the training table was.
        image_encoder
            An `ImageModel` for the images; the table's own unless told.
        titles
            Title by token, of those that have one.
        """
        tokens = as_tokens(tokens, "add_items")
        given = {name: np.asarray(rows) for name, rows in (vectors or {}).items()}
        if texts is not None:
            given["text"] = self._encoders.texts(self._origins(), texts, encoder)
        if images is not None:
            given["image"] = self._encoders.images(self._origins(), images, image_encoder)
        if not given or any(len(rows) != len(tokens) for rows in given.values()):
            raise InputError(
                "add_items", f"needs vectors, texts or images of {len(tokens)} items",
                f"{ {name: len(rows) for name, rows in given.items()} }", "Give one to each.",
            )  # fmt: skip
        if len(set(tokens)) < len(tokens):
            raise InputError("add_items", "must have different ids", tokens[:5], "Name each once.")
        features = {
            token: {name: rows[place] for name, rows in given.items()}
            for place, token in enumerate(tokens)
        }
        with self._growing:
            self.index = self.index.extended(features)
            told = {as_token(key, "titles"): title for key, title in (titles or {}).items()}
            self.titles = self.titles | told

    def explain(self, items: Sequence[Id], item: Id, **options: Any) -> Explanation:
        """Tell why an item is recommended to a history; options as in `recommend`."""
        index = self.index
        place = index.require(as_token(item, "item"))
        history = self._reader.history(index, items, *map(options.get, ("times", "now", "user")))
        return explain(index, history, place)

    def _index_with(self, new_items: Mapping[Id, Any] | None) -> Index:
        if not new_items:
            return self.index
        new = {as_token(key, "new_items"): each for key, each in new_items.items()}
        texts = [each for each in new.values() if isinstance(each, str)]
        encoded = iter(self._encoders.texts(self._origins(), texts) if texts else ())
        return self.index.extended(
            {
                token: {"text": next(encoded)} if isinstance(each, str) else each
                for token, each in new.items()
            }
        )

    def _origins(self) -> Mapping[str, Origin]:
        network = self.index.network
        return network.features.origins if isinstance(network, ServedUR4Rec) else {}
