"""Options of the language-model writer, and the run that they ask for."""

import argparse
import json
import os
from collections.abc import Sequence

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.extract.answers import AnswerCache
from ur4rec_recbole.extract.llm import Estimate, LlmSettings, LlmWriter
from ur4rec_recbole.extract.progress import progress_bar
from ur4rec_recbole.extract.prompts import Prompt

DEFAULT_REQUEST = {"temperature": 0, "max_tokens": 200}


def add_llm_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; model, address and key may stand in the environment instead."""
    group = parser.add_argument_group(
        "language-model writer", "The key is read from OPENAI_API_KEY alone."
    )
    group.add_argument("--model", help="default: $OPENAI_MODEL")
    group.add_argument("--base-url", help="default: $OPENAI_BASE_URL")
    group.add_argument("--cache", help="answers on disk; default: OUTPUT.answers.sqlite")
    group.add_argument(
        "--request", default="{}", metavar="JSON",
        help=f"further request fields, over {json.dumps(DEFAULT_REQUEST)}; null leaves one out",
    )  # fmt: skip
    group.add_argument("--concurrency", type=int, default=LlmSettings.concurrency)
    group.add_argument("--attempts", type=int, default=LlmSettings.attempts)
    group.add_argument("--backoff", type=float, default=LlmSettings.backoff, help="seconds")
    group.add_argument("--timeout", type=float, default=LlmSettings.timeout, help="seconds")
    group.add_argument("--price-in", type=float, help="price of a million prompt tokens")
    group.add_argument("--price-out", type=float, help="price of a million answer tokens")
    group.add_argument("--max-cost", type=float, help="refuse to start above this estimate")
    group.add_argument(
        "--dry-run", nargs="?", type=int, const=3, metavar="N",
        help="print the estimate and the first N prompts (3), and ask nothing",
    )  # fmt: skip


def write_texts(options: argparse.Namespace, prompts: Sequence[Prompt]) -> list[str] | None:
    """Estimate, then ask; None after a dry run."""
    settings = llm_settings(options)
    cache = AnswerCache(options.cache or f"{options.output}.answers.sqlite")
    try:
        writer = LlmWriter(settings, cache)
        estimate = writer.estimate(prompts)
        print(describe(estimate, options), flush=True)
        if options.dry_run is not None:
            for prompt in prompts[: options.dry_run]:
                print(f"--- system\n{prompt.system}\n--- user\n{prompt.user}")
            return None
        _check_cost(estimate, options)
        with progress_bar(estimate.prompts, "answers") as progress:
            writer.progress = progress
            return writer.write(prompts)
    finally:
        cache.close()


def chosen_model(options: argparse.Namespace) -> str | None:
    """Return the language model's name: the option's, else the environment's."""
    return options.model or os.environ.get("OPENAI_MODEL")


def llm_settings(options: argparse.Namespace) -> LlmSettings:
    """Read the settings from options and environment."""
    model = chosen_model(options)
    key = os.environ.get("OPENAI_API_KEY")
    if not model or not (key or options.dry_run is not None):
        raise InputError(
            "the language-model writer", "must know a model and a key",
            f"model {model!r}, OPENAI_API_KEY {'set' if key else 'not set'}",
            "Set OPENAI_MODEL (or --model) and OPENAI_API_KEY; a local server takes any key.",
        )  # fmt: skip
    for name in ("concurrency", "attempts", "backoff", "timeout"):
        if getattr(options, name) <= 0:
            raise InputError(f"--{name}", "must be above 0", getattr(options, name), "Raise it.")
    return LlmSettings(
        model=model,
        base_url=options.base_url or os.environ.get("OPENAI_BASE_URL"),
        api_key=key or "none",
        request=_request_fields(options.request),
        concurrency=options.concurrency,
        attempts=options.attempts,
        backoff=options.backoff,
        timeout=options.timeout,
    )


def describe(estimate: Estimate, options: argparse.Namespace) -> str:
    """Put an estimate into words."""
    words = (
        f"{estimate.prompts} prompts to ask, {estimate.cached} answered before; about "
        f"{estimate.prompt_tokens} prompt tokens and at most {estimate.completion_tokens} answer "
        "tokens"
    )
    if options.price_in is None or options.price_out is None:
        return f"{words}; cost unknown without --price-in and --price-out."
    return f"{words}; cost at most about {estimate.cost(options.price_in, options.price_out):.4f}."


def _request_fields(words: str) -> dict[str, object]:
    try:
        given = json.loads(words)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InputError(
            "--request", "must be a JSON object", words, """Write '{"temperature": 1}'."""
        )
    merged = {**DEFAULT_REQUEST, **given}
    return {name: value for name, value in merged.items() if value is not None}


def _check_cost(estimate: Estimate, options: argparse.Namespace) -> None:
    if options.max_cost is None:
        return
    if options.price_in is None or options.price_out is None:
        raise InputError(
            "--max-cost", "must come with --price-in and --price-out", "no prices", "Give both."
        )
    cost = estimate.cost(options.price_in, options.price_out)
    if cost > options.max_cost:
        raise InputError(
            "the estimated cost", f"must be at most --max-cost {options.max_cost}", f"{cost:.4f}",
            "Ask for fewer or shorter texts, or raise --max-cost.",
        )  # fmt: skip
