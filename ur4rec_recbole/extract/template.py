"""User profiles from a template: genres with shares, decades, ratings, recent favourites.

The default writer of `ur4rec extract profile`; needs no model and gives the same text each time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ur4rec_recbole.data.items import Item

TOP_GENRES = 5
TOP_DECADES = 3
FAVOURITES = 5


@dataclass(frozen=True)
class History:
    """The first n interactions of a user, oldest first.

    Parameters
    ----------
    items
        [n] raw item ids.
    ratings
        [n] in the data set's own scale, or None.
    """

    items: Sequence[str]
    ratings: Sequence[float] | None = None

    def first(self, n: int) -> "History":
        """Return the history as it stood after n interactions."""
        return History(self.items[:n], None if self.ratings is None else self.ratings[:n])

    def __len__(self) -> int:
        return len(self.items)


def template_profile(history: History, items: Mapping[str, Item]) -> str:
    """Describe a history from nothing but `history` and the items' own columns."""
    known = [items.get(token, Item()) for token in history.items]
    parts = [f"A user with {len(history)} interactions."]
    parts += _shares("Genres", [genre for item in known for genre in item.genres], TOP_GENRES)
    decades = [f"{item.year // 10}0s" for item in known if item.year]
    parts += _shares("Decades", decades, TOP_DECADES)
    parts += _ratings(history, known)
    names = [known[place].label for place in _favourites(history) if known[place].label]
    if names:
        parts.append(f"Recent favourites: {'; '.join(names)}.")
    return " ".join(parts)


def _shares(title: str, values: Sequence[str], top: int) -> list[str]:
    """Name the commonest values with their share of all, ties in alphabetical order."""
    if not values:
        return []
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    words = [f"{value} {round(100 * count / len(values))}%" for value, count in counts]
    return [f"{title}: {', '.join(words)}."]


def _ratings(history: History, known: Sequence[Item]) -> list[str]:
    if history.ratings is None or not len(history):
        return []
    mean = sum(history.ratings) / len(history)
    totals: dict[str, list[float]] = {}
    for item, rating in zip(known, history.ratings, strict=True):
        for genre in item.genres:
            totals.setdefault(genre, []).append(rating)
    # Half a dozen ratings at the mean pull small genres towards it: one 5 is no preference.
    liking = {
        genre: (sum(given) + 6 * mean) / (len(given) + 6) - mean for genre, given in totals.items()
    }
    best = sorted(liking, key=lambda genre: (-liking[genre], genre))[:2]
    text = f"Average rating {mean:.1f}."
    if best and liking[best[0]] > 0:
        text += f" Rates above that: {', '.join(name for name in best if liking[name] > 0)}."
    return [text]


def _favourites(history: History) -> list[int]:
    """Return the places of the newest interactions, of those rated at or above the user's mean."""
    places = range(len(history) - 1, -1, -1)
    if history.ratings is None:
        return list(places)[:FAVOURITES]
    mean = sum(history.ratings) / max(len(history), 1)
    return [place for place in places if history.ratings[place] >= mean][:FAVOURITES]
