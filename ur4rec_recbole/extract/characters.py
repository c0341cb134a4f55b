"""Repairs texts with half characters (lone surrogates), as JSON and scrapers may yield."""


def whole_characters(text: str) -> str:
    """Join surrogate pairs and replace lone halves by U+FFFD, so that UTF-8 can hold the text."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
