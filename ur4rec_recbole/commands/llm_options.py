"""Options of the language-model writer, and the run that they ask for."""

import argparse
import json
import math
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from ur4rec_recbole.commands.options import ANSWERS
from ur4rec_recbole.core.errors import InputError, printable
from ur4rec_recbole.core.files import parse_json, sole_use
from ur4rec_recbole.extract.answers import AnswerCache
from ur4rec_recbole.extract.endpoint import LlmSettings
from ur4rec_recbole.extract.llm import LIMITS, Estimate, LlmWriter
from ur4rec_recbole.extract.progress import progress_bar
from ur4rec_recbole.extract.prompts import Prompt

DEFAULT_REQUEST = {"temperature": 0, "max_tokens": 200}
MOST_SHOWN = 20  # refused prompts that are named
OURS = ("model", "messages", "stream", "n")  # request fields that the writer sets itself


def add_llm_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; model, address and key may stand in the environment instead."""
    group = parser.add_argument_group(
        "language-model writer", "The key is read from OPENAI_API_KEY alone."
    )
    group.add_argument("--model", help="name of the language model; default: $OPENAI_MODEL")
    group.add_argument(
        "--base-url", metavar="URL", help="address of the endpoint; default: $OPENAI_BASE_URL"
    )
    group.add_argument(
        "--cache", metavar="FILE", help="keeps all answers; default: OUTPUT.answers.sqlite"
    )
    group.add_argument(
        "--request", default="{}", metavar="JSON",
        help=f"more request fields, merged into {json.dumps(DEFAULT_REQUEST)}; null leaves one out",
    )  # fmt: skip
    for name, kind, words in (
        ("concurrency", int, "requests under way at a time"),
        ("attempts", int, "attempts per prompt"),
        ("backoff", float, "seconds before the second try; doubles each time"),
        ("timeout", float, "seconds to wait for an answer"),
    ):
        group.add_argument(
            f"--{name}", type=kind, default=getattr(LlmSettings, name), metavar="N",
            help=f"{words}; default: %(default)s",
        )  # fmt: skip
    group.add_argument(
        "--price-in", type=float, metavar="N", help="price of a million prompt tokens"
    )
    group.add_argument(
        "--price-out", type=float, metavar="N", help="price of a million answer tokens"
    )
    group.add_argument(
        "--max-cost", type=float, metavar="N", help="ask nothing if the estimate is above this"
    )
    group.add_argument(
        "--dry-run", nargs="?", type=int, const=3, metavar="N",
        help="print the estimate and the first N prompts (default: 3), and ask nothing",
    )  # fmt: skip


def check_no_llm(options: argparse.Namespace) -> None:
    """Refuse what would hold a language model back, where none is asked."""
    for name in ("dry_run", "max_cost"):
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')}", "must come with the writer llm", "another writer",
                "Leave it out, or choose the writer llm.",
            )  # fmt: skip


def write_texts(options: argparse.Namespace, named: Mapping[str, Prompt]) -> list[str] | None:
    """Print the estimate, then ask the model; return None after a dry run.

    Prompts are named by what they are of, for messages.
    """
    settings, prompts = llm_settings(options), list(named.values())
    _check_costs(options, settings)
    path = options.cache or f"{options.output}.{ANSWERS}"
    cache = AnswerCache(path)
    try:
        writer = LlmWriter(settings, cache)
        estimate = writer.estimate(prompts)
        print(describe(estimate, options), flush=True)
        if options.dry_run is not None:
            for prompt in prompts[: options.dry_run]:
                print(f"--- system\n{prompt.system}\n--- user\n{prompt.user}")
            return None
        _check_estimate(estimate, options)
        # Two would pay for everything twice.
        asking = sole_use(path, f"--cache {path}", "another that asks for its answers")
        with asking, progress_bar(estimate.prompts, "answers") as progress:
            writer.progress = progress
            texts = writer.write(prompts)
        _tell_left_out(writer, named)
        return texts
    finally:
        cache.close()


def _tell_left_out(writer: LlmWriter, named: Mapping[str, Prompt]) -> None:
    """Print which prompts the endpoint refused, each for itself."""
    keys = {name: writer.key(prompt) for name, prompt in named.items()}
    found = [f"{name} ({writer.left_out[key]})" for name, key in keys.items()
             if key in writer.left_out]  # fmt: skip
    if found:
        more = f", and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        shown = ", ".join(found[:MOST_SHOWN])
        print(printable(f"  without a text, since the endpoint refused the prompt: {shown}{more}"))


def chosen_model(options: argparse.Namespace) -> str | None:
    """Return the language model's name: the option's, else the environment's."""
    return options.model or os.environ.get("OPENAI_MODEL")


def llm_settings(options: argparse.Namespace) -> LlmSettings:
    """Read the settings from options and environment."""
    model = chosen_model(options)
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not model or not (key or options.dry_run is not None):
        raise InputError(
            "the language-model writer", "must know a model and a key",
            f"model {model!r}, OPENAI_API_KEY {'set' if key else 'not set'}",
            "Set OPENAI_MODEL (or --model) and OPENAI_API_KEY; a local server takes any key.",
        )  # fmt: skip
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(
            "OPENAI_API_KEY", "must be of printable ASCII characters without spaces",
            "others among them", "Copy the key again.",
        )  # fmt: skip
    for name in ("concurrency", "attempts", "backoff", "timeout"):
        if not 0 < getattr(options, name) < math.inf:
            raise InputError(
                f"--{name}", "must be a number above 0", getattr(options, name), "Correct it."
            )
    if options.dry_run is not None and options.dry_run < 0:
        raise InputError("--dry-run", "must be at least 0", options.dry_run, "Raise it.")
    return LlmSettings(
        model=model,
        base_url=_address(options.base_url or os.environ.get("OPENAI_BASE_URL")),
        api_key=key or "none",
        request=_request_fields(options.request),
        concurrency=options.concurrency,
        attempts=options.attempts,
        backoff=options.backoff,
        timeout=options.timeout,
    )


def describe(estimate: Estimate, options: argparse.Namespace) -> str:
    """Put an estimate into words."""
    limited = math.isfinite(estimate.completion_tokens)
    answers = f"at most {estimate.completion_tokens}" if limited else "any number of"
    words = (
        f"{estimate.prompts} prompts to ask, {estimate.cached} answered before; about "
        f"{estimate.prompt_tokens} prompt tokens and {answers} answer tokens"
    )
    if options.price_in is None or options.price_out is None:
        return f"{words}; cost unknown without --price-in and --price-out."
    cost = estimate.cost(options.price_in, options.price_out)
    return f"{words}; cost {f'at most about {cost:.4f}' if limited else 'without a limit'}."


def _address(given: str | None) -> str | None:
    """Return the endpoint's address without spaces around it; refuse what is none."""
    if given is None:
        return None
    url = given.strip()
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        sound = False
    if not (sound and url.isprintable()):
        raise InputError(
            "--base-url or OPENAI_BASE_URL", "must be an address of http:// or https://",
            repr(given), "Write for instance http://localhost:8000/v1.",
        )  # fmt: skip
    return url


def _request_fields(words: str) -> dict[str, object]:
    try:
        given = parse_json(words)
        json.dumps(given, allow_nan=False)  # what no endpoint can read
    except ValueError:
        given = None
    if not isinstance(given, dict) or set(given) & set(OURS):
        raise InputError(
            "--request", f"must be a JSON object without {list(OURS)}", words,
            """Write for instance '{"temperature": 1}'.""",
        )  # fmt: skip
    merged = {**DEFAULT_REQUEST, **given}
    for name in LIMITS:
        limit = merged.get(name)
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InputError(
                f"--request: {name}", "must be a whole number above 0, or null for no limit",
                repr(limit), "Write for instance 200.",
            )  # fmt: skip
    return {name: value for name, value in merged.items() if value is not None}


def _check_costs(options: argparse.Namespace, settings: LlmSettings) -> None:
    """Refuse, before any request, a cost limit that could never take effect."""
    for name in ("price_in", "price_out", "max_cost"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < math.inf:
            raise InputError(
                f"--{name.replace('_', '-')}", "must be a number from 0 on", value, "Correct it."
            )
    if options.max_cost is None:
        return
    if options.price_in is None or options.price_out is None:
        raise InputError(
            "--max-cost", "must come with --price-in and --price-out", "no prices", "Give both."
        )
    if not set(LIMITS) & set(settings.request):
        raise InputError(
            "--max-cost", f"must come with a limit of answer tokens ({' or '.join(LIMITS)})",
            "none in --request", "Leave max_tokens as it is, or name a number.",
        )  # fmt: skip


def _check_estimate(estimate: Estimate, options: argparse.Namespace) -> None:
    if options.max_cost is None:
        return
    cost = estimate.cost(options.price_in, options.price_out)
    if cost > options.max_cost:
        raise InputError(
            "the estimated cost", f"must be at most --max-cost {options.max_cost}", f"{cost:.4f}",
            "Ask for fewer or shorter texts, or raise --max-cost.",
        )  # fmt: skip
