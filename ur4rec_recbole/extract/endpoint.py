"""One request to an OpenAI-compatible endpoint: where it goes, and what becomes of its reply.

`llm.py` asks many at once, and again where a failure may pass.
"""

from dataclasses import dataclass, field
from typing import Any

from ur4rec_recbole.core.errors import InputError, first_line, needs
from ur4rec_recbole.extract.answers import Answer
from ur4rec_recbole.extract.characters import whole_characters
from ur4rec_recbole.extract.prompts import Prompt

MOST_CHARACTERS = 20_000  # of an answer that are kept; encoders read a few hundred words
OF_ONE_PROMPT = ("content_filter", "context_length_exceeded")  # codes of a refusal of one alone
SHORTEST_SECRET = 8  # keys of local servers ("none", "EMPTY") are words that answers may hold


@dataclass(frozen=True)
class LlmSettings:
    """Where to ask, and how.

    Parameters
    ----------
    model
        The endpoint's name for it.
    base_url
        None takes the openai package's own default.
    api_key
        Sent as a bearer token; part of no message, answer or `repr`.
    request
        Further fields of the request's body, such as temperature and max_tokens.
    concurrency
        Requests under way at once.
    attempts
        Times that a prompt is tried.
    backoff
        Seconds before the second try; doubles each time, up to a minute, with jitter.
    timeout
        Seconds for one request.
    """

    model: str
    base_url: str | None
    api_key: str = field(repr=False)
    request: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    attempts: int = 6
    backoff: float = 1.0
    timeout: float = 60.0

    def redact(self, words: object) -> str:
        """Return an endpoint's message without the key, which some endpoints repeat."""
        text = str(words)
        return text.replace(self.api_key, "***") if len(self.api_key) >= SHORTEST_SECRET else text


class Retry(Exception):
    """A failure that may pass: asked again after a pause of at least `after` seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Unanswerable(Exception):
    """A refusal of one prompt, which says nothing of the others."""


def open_client(settings: LlmSettings) -> Any:
    """Return the openai package's client; it must be closed."""
    with needs("openai", "for the language-model writer", "llm"):
        import openai
    try:
        return openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key,
            timeout=settings.timeout,
            max_retries=0,  # retries are counted, spaced and logged here
        )
    except Exception as error:  # the HTTP library's own, such as for a host that no name can be
        raise InputError(
            "OPENAI_BASE_URL", "must be an address that requests can be sent to",
            first_line(error), "Write for instance http://localhost:8000/v1.",
        ) from error  # fmt: skip


async def ask_once(client: Any, settings: LlmSettings, key: str, prompt: Prompt) -> Answer:
    """Send one request; raise `Retry` for what may pass and `InputError` for what will not."""
    import openai

    try:
        reply = await client.chat.completions.create(
            model=settings.model,
            messages=prompt.messages,
            # A server that honours it does not bill an answer again that a killed run never saw.
            extra_headers={"Idempotency-Key": key},
            extra_body=settings.request,  # the endpoint, not the package, knows its fields
        )
    except openai.APIStatusError as error:
        quota = error.code == "insufficient_quota"
        if not quota and error.status_code in (408, 409, 425, 429, *range(500, 600)):
            raise Retry(f"status {error.status_code}", _retry_after(error)) from error
        if error.status_code == 400 and error.code in OF_ONE_PROMPT:
            raise Unanswerable(f"status 400: {error.code}") from error
        raise InputError(
            "the language model's endpoint", "must accept the request",
            f"status {error.status_code}: {settings.redact(error)[:300]}",
            "Check OPENAI_BASE_URL, OPENAI_MODEL, OPENAI_API_KEY and --request.",
        ) from error  # fmt: skip
    except (openai.APIError, ValueError, RecursionError) as error:
        # A time-out, a cut connection, malformed JSON.
        raise Retry(f"{type(error).__name__}: {settings.redact(error)[:300]}") from error
    return _answer(reply, settings)


def _answer(reply: Any, settings: LlmSettings) -> Answer:
    """Take the text out of a reply of any shape; keep what was paid for if possible."""
    try:
        choice = reply.choices[0]
        text = _text(choice.message.content)
        end = getattr(choice, "finish_reason", None)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise Retry(f"a reply without a text: {settings.redact(reply)[:200]}") from error
    if not text.strip() and end == "length":
        raise InputError(
            "the language model", "must have room for an answer",
            "an empty text that the limit of tokens has ended",
            "Raise max_tokens in --request; thinking counts, too.",
        )  # fmt: skip
    if not text.strip() and end != "content_filter":
        raise Retry("a reply with an empty text")
    usage = getattr(reply, "usage", None)
    return Answer(
        settings.redact(whole_characters(text[:MOST_CHARACTERS])),  # "" if refused for good
        _count(getattr(usage, "prompt_tokens", 0)),
        _count(getattr(usage, "completion_tokens", 0)),
    )


def _text(content: Any) -> str:
    """Return a message's text, which some endpoints send in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _count(tokens: Any) -> int:
    """Return a number of tokens, 0 where it is none that the cache can hold."""
    usual = isinstance(tokens, int | float) and 0 <= tokens < 2**63
    return int(tokens) if usual else 0


def _retry_after(error: Any) -> float:
    try:
        return max(0.0, float(error.response.headers.get("retry-after", 0)))
    except (TypeError, ValueError):  # a date, which the backoff stands for
        return 0.0
