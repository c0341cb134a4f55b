"""The one error type that users see for bad input: what, rule, received, remedy."""


class InputError(ValueError):
    """Raised for input that a user can mend: a table, a configuration key, a data set.

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
        super().__init__(f"{what} {rule}. Received {received}. {remedy}")
