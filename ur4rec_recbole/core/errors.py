"""The one error type that users see for bad input: what, rule, received, remedy."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Raised for input that a user can correct: a table, a configuration key, a data set.

    Parameters
    ----------
    what
        The thing that is wrong, in the user's own terms (a key, a file, a column).
    rule
        What would have been right.
    received
        What was found instead.
    remedy
        What to do about it.
    """

    def __init__(self, what: str, rule: str, received: object, remedy: str) -> None:
        super().__init__(what, rule, received, remedy)  # all of them, so that it can be unpickled

    def __str__(self) -> str:
        what, rule, received, remedy = self.args
        return printable(f"{what} {rule}. Received {received}. {remedy}")


def printable(text: str) -> str:
    """Return a text with escapes for whatever would steer a terminal or cannot be written."""
    kept = "\n\xa0\u3000"  # line ends, and the spaces of French and Chinese
    plain = (c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)
    return text if text.isprintable() else "".join(plain)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for a known name that is much like `name`, or ""."""
    names = {each.lower(): each for each in sorted(known)}
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    return f"Did you mean {names[near[0]]!r}?" if near else ""


def first_line(error: BaseException) -> str:
    """Return the kind of another library's error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


@contextmanager
def needs(library: str, purpose: str, extra: str) -> Iterator[None]:
    """Import inside this: where an optional library is missing, say how it is installed.

    Parameters
    ----------
    library
        Its name.
    purpose
        What it is for: "for text encoders".
    extra
        The extra of this package that requires it.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            library, f"must be installed {purpose}", error,
            f"Run `pip install ur4rec_recbole[{extra}]`.",
        ) from error  # fmt: skip
