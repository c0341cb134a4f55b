"""The language-model writer: prompts to texts over any OpenAI-compatible endpoint.

Used by `ur4rec extract text --write llm` and `ur4rec extract profile --writer llm`. Requests run at
once up to a limit, are tried again with backoff, and every answer goes to disk when it arrives.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.extract.answers import Answer, AnswerCache, answer_key
from ur4rec_recbole.extract.endpoint import (
    LlmSettings,
    Retry,
    Unanswerable,
    ask_once,
    open_client,
)
from ur4rec_recbole.extract.prompts import Prompt

BYTES_A_TOKEN = 4  # of UTF-8; a usual figure for English, and only the estimate rests on it
TOKENS_A_MESSAGE = 4
MOST_FAILURES = 10  # prompts given up before the run stops asking
LIMITS = ("max_tokens", "max_completion_tokens")  # names of the limit of answer tokens


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

    Attributes
    ----------
    left_out
        By key, why the endpoint refused a prompt itself. It costs nothing, and is asked again by
        the next run.
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
        self.left_out: dict[str, str] = {}

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
        """Return a text for every prompt ("" where it was refused); raise if any got none."""
        waiting = self._waiting(prompts)
        failures = asyncio.run(self._ask_all(waiting)) if waiting else []
        keys = [self.key(prompt) for prompt in prompts]
        answers = {key: self.cache.get(key) for key in keys}
        missing = sum(answers[key] is None and key not in self.left_out for key in keys)
        if missing:
            raise InputError(
                "the language model",
                "must answer every prompt",
                f"no answer to {missing} of {len(prompts)} prompts: {failures[0]}",
                "Run the command again: the answers so far are kept and will not be asked again.",
            )
        return [" ".join(answer.text.split()) if (answer := answers[key]) else "" for key in keys]

    def _waiting(self, prompts: Sequence[Prompt]) -> dict[str, Prompt]:
        """Return the distinct prompts that have no answer yet, by key."""
        keyed = {self.key(prompt): prompt for prompt in prompts}
        return {key: prompt for key, prompt in keyed.items() if self.cache.get(key) is None}

    async def _ask_all(self, waiting: dict[str, Prompt]) -> list[str]:
        """Ask `concurrency` prompts at a time; return the reasons of those given up.

        A refusal of all is raised when the requests under way have ended: they are paid for.
        """
        client = open_client(self.settings)
        queue = iter(waiting.items())
        failures: list[str] = []
        refusals: list[InputError] = []
        stopped = asyncio.Event()

        async def worker() -> None:
            for key, prompt in queue:
                if stopped.is_set() or len(failures) >= MOST_FAILURES:
                    return
                try:
                    if self.cache.get(key) is None:  # else another run has asked meanwhile
                        self.cache.put(key, await self._ask(client, key, prompt, stopped))
                    self.progress(1)
                except Retry as failure:
                    failures.append(str(failure))
                except Unanswerable as refusal:
                    self.left_out[key] = str(refusal)
                except InputError as refusal:
                    refusals.append(refusal)
                    stopped.set()

        workers = range(min(self.settings.concurrency, len(waiting)))
        tasks = [asyncio.create_task(worker()) for _ in workers]
        try:
            await asyncio.gather(*tasks)
        finally:  # Ctrl-C stops all at once
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()
        if refusals:
            raise refusals[0]
        return failures

    async def _ask(self, client: Any, key: str, prompt: Prompt, stopped: asyncio.Event) -> Answer:
        """Ask one prompt, again with backoff while the failure may pass and nothing has stopped."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        async def rest(seconds: float) -> None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopped.wait(), seconds)
                raise Retry("stopped by a refusal of another prompt")

        attempts = AsyncRetrying(
            sleep=rest,
            retry=retry_if_exception_type(Retry),
            stop=stop_after_attempt(self.settings.attempts),
            wait=self._pause,
            reraise=True,
        )
        return await attempts(ask_once, client, self.settings, key, prompt)

    def _pause(self, state: Any) -> float:
        """Wait twice as long each time, with jitter, and never less than the server asks."""
        from tenacity import wait_random_exponential

        usual = wait_random_exponential(multiplier=self.settings.backoff, max=60)(state)
        failure = state.outcome.exception()
        return max(usual, min(getattr(failure, "after", 0.0), 300.0))
