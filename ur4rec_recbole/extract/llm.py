"""The language-model writer: prompts to texts over any OpenAI-compatible endpoint.

Used by `ur4rec extract text --write llm` and `ur4rec extract profile --writer llm`. Requests run at
once up to a limit, are tried again with backoff, and every answer goes to disk when it arrives.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ur4rec_recbole.core.errors import InputError, first_line, needs
from ur4rec_recbole.extract.answers import Answer, AnswerCache, answer_key
from ur4rec_recbole.extract.characters import whole_characters
from ur4rec_recbole.extract.prompts import Prompt

BYTES_A_TOKEN = 4  # of UTF-8; a usual figure for English, and only the estimate rests on it
TOKENS_A_MESSAGE = 4
MOST_FAILURES = 10  # prompts given up before the run stops asking
MOST_CHARACTERS = 20_000  # of an answer that are kept; encoders read a few hundred words
LIMITS = ("max_tokens", "max_completion_tokens")  # names of the limit of answer tokens
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


class Estimate(NamedTuple):
    """What a run will ask for: prompts not in the cache yet, and tokens at most.

    `completion_tokens` is infinite where the request sets no limit.
    """

    prompts: int
    cached: int
    prompt_tokens: int
    completion_tokens: float

    def cost(self, price_in: float, price_out: float) -> float:
        """Return the cost at most, with prices a million tokens."""
        answers = self.completion_tokens * price_out if price_out else 0.0
        return (self.prompt_tokens * price_in + answers) / 1e6


class Retry(Exception):
    """A failure that may pass: asked again after a pause of at least `after` seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class LlmWriter:
    """Turns prompts into texts.

    Parameters
    ----------
    settings
        Where and how.
    cache
        Answers kept on disk.
    progress
        Called with 1 for every answer.
    """

    def __init__(
        self,
        settings: LlmSettings,
        cache: AnswerCache,
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.settings = settings
        self.cache = cache
        self.progress = progress

    def key(self, prompt: Prompt) -> str:
        """Return the prompt's key in the cache."""
        return answer_key(self.settings.model, prompt, self.settings.request)

    def estimate(self, prompts: Sequence[Prompt]) -> Estimate:
        """Count what is still to be asked."""
        waiting = self._waiting(prompts)
        size = sum(
            len(message["content"].encode()) + TOKENS_A_MESSAGE * BYTES_A_TOKEN
            for prompt in waiting.values()
            for message in prompt.messages
        )
        request = self.settings.request
        limits = [request[name] for name in LIMITS if name in request]
        most = max(limits, default=math.inf) * len(waiting) if waiting else 0
        cached = len({self.key(prompt) for prompt in prompts}) - len(waiting)
        return Estimate(len(waiting), cached, -(-size // BYTES_A_TOKEN), most)

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return a text for every prompt ("" where the model refused); raise if any got none."""
        failures = asyncio.run(self._ask_all(self._waiting(prompts)))
        answers = [self.cache.get(self.key(prompt)) for prompt in prompts]
        missing = sum(answer is None for answer in answers)
        if missing:
            raise InputError(
                "the language model",
                "must answer every prompt",
                f"no answer to {missing} of {len(prompts)} prompts: {failures[0]}",
                "Run the command again: the answers so far are kept and will not be asked again.",
            )
        return [" ".join(answer.text.split()) for answer in answers if answer is not None]

    def _waiting(self, prompts: Sequence[Prompt]) -> dict[str, Prompt]:
        """Return the distinct prompts that have no answer yet, by key."""
        keyed = {self.key(prompt): prompt for prompt in prompts}
        return {key: prompt for key, prompt in keyed.items() if self.cache.get(key) is None}

    async def _ask_all(self, waiting: dict[str, Prompt]) -> list[str]:
        """Ask `concurrency` prompts at a time; return the reasons of those given up."""
        if not waiting:
            return []
        client = _client(self.settings)
        queue = iter(waiting.items())
        failures: list[str] = []

        async def worker() -> None:
            for key, prompt in queue:
                if len(failures) >= MOST_FAILURES:
                    return
                try:
                    if self.cache.get(key) is None:  # else another run has asked meanwhile
                        self.cache.put(key, await self._ask(client, key, prompt))
                    self.progress(1)
                except Retry as failure:
                    failures.append(str(failure))

        count = min(self.settings.concurrency, len(waiting))
        tasks = [asyncio.create_task(worker()) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        finally:  # a refusal that will not pass stops the others at once
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()
        return failures

    async def _ask(self, client: Any, key: str, prompt: Prompt) -> Answer:
        """Ask one prompt, again with backoff while the failure may pass."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Retry),
            stop=stop_after_attempt(self.settings.attempts),
            wait=self._pause,
            reraise=True,
        )
        return await attempts(_request, client, self.settings, key, prompt)

    def _pause(self, state: Any) -> float:
        """Wait twice as long each time, with jitter, and never less than the server asks."""
        from tenacity import wait_random_exponential

        usual = wait_random_exponential(multiplier=self.settings.backoff, max=60)(state)
        failure = state.outcome.exception()
        return max(usual, min(getattr(failure, "after", 0.0), 300.0))


def _client(settings: LlmSettings) -> Any:
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


async def _request(client: Any, settings: LlmSettings, key: str, prompt: Prompt) -> Answer:
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
        quota = getattr(error, "code", None) == "insufficient_quota"
        if not quota and error.status_code in (408, 409, 425, 429, *range(500, 600)):
            raise Retry(f"status {error.status_code}", _retry_after(error)) from error
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
        refused = getattr(choice, "finish_reason", None) == "content_filter"
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise Retry(f"a reply without a text: {settings.redact(reply)[:200]}") from error
    if not text.strip() and not refused:
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
