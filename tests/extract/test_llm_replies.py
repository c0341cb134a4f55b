"""What an endpoint may answer, what a user may ask for, and that the key stays where it is."""

import json
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.answers import Answer, AnswerCache
from ur4rec_recbole.extract.endpoint import MOST_CHARACTERS, LlmSettings, Retry
from ur4rec_recbole.extract.llm import LlmWriter
from ur4rec_recbole.extract.prompts import Prompt

KEY = "sk-canary-123"


def reply(content, usage='{"prompt_tokens": 5, "completion_tokens": 7}', finish="stop"):
    return (
        '{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": '
        f'[{{"index": 0, "finish_reason": "{finish}", "message": {{"role": "assistant", '
        f'"content": {content}}}}}], "usage": {usage}}}'
    )


@pytest.fixture
def endpoint():
    """Start an endpoint that gives the same answer to all; returns how, and what it was asked.

    Instead of a body, a function returns status and body of what the user's message says.
    """
    servers = []

    def start(body, status=200):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words):
                pass

            def do_POST(self):
                asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                said = asked[-1]["messages"][-1]["content"]
                code, words = body(said) if callable(body) else (status, body)
                answer = words.replace("KEY", self.headers["authorization"]).encode()
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def writer(url, tmp_path, concurrency=8, **request):
    settings = LlmSettings("m", url, KEY, request, concurrency, 2, backoff=0.001, timeout=10)
    return LlmWriter(settings, AnswerCache(str(tmp_path / "cache")))


ODD = {
    "usage of words": (reply('"fine"', '{"prompt_tokens": "many"}'), "fine", (0, 0)),
    "usage beyond 64 bits": (reply('"fine"', f'{{"prompt_tokens": {10**30}}}'), "fine", (0, 0)),
    "infinite usage": (reply('"fine"', '{"prompt_tokens": 1e400}'), "fine", (0, 0)),
    "negative usage": (reply('"fine"', '{"completion_tokens": -3}'), "fine", (0, 0)),
    "usage that is a list": (reply('"fine"', "[1]"), "fine", (0, 0)),
    "no usage": (reply('"fine"', "null"), "fine", (0, 0)),
    "half an emoji": (reply('"half \\ud83d"'), "half \ufffd", (5, 7)),
    "a whole emoji": (reply('"\\ud83d\\ude00"'), "\U0001f600", (5, 7)),
    "control characters": (reply('"a\\u0000b"'), "a\0b", (5, 7)),
    "a text in parts": (reply('[{"type": "text", "text": "in parts"}]'), "in parts", (5, 7)),
    "a huge text": (reply(json.dumps("x" * 3_000_000)), "x" * MOST_CHARACTERS, (5, 7)),
    "a refusal": (reply("null", finish="content_filter"), "", (5, 7)),
    "the key": (reply('"I was sent KEY"'), "I was sent Bearer ***", (5, 7)),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_answer_is_kept_and_not_paid_again(endpoint, tmp_path, kind):
    body, text, tokens = ODD[kind]
    url, asked = endpoint(body)
    prompts = [Prompt("task", "one"), Prompt("task", "two")]
    ours = writer(url, tmp_path)
    assert ours.write(prompts) == [text, text] and len(asked) == 2
    assert ours.cache.get(ours.key(prompts[0])) == Answer(text, *tokens)
    assert writer(url, tmp_path).write(prompts) == [text, text] and len(asked) == 2


EMPTY = {
    "a null text": reply("null"),
    "a number": reply("5"),
    "no choices": '{"choices": null}',
    "choices of words": '{"choices": "x", "usage": 3}',
    "a list": "[1, 2]",
    "a string": '"KEY"',
    "a page": "<html>KEY</html>",
    "parts without a text": reply('[{"type": "text"}, 3]'),
    "deep nesting": "[" * 100_000,
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_reply_without_a_text_is_tried_again_and_then_told(endpoint, tmp_path, kind):
    url, asked = endpoint(EMPTY[kind])
    with pytest.raises(InputError, match="no answer to 1 of 1 prompts") as refusal:
        writer(url, tmp_path).write([Prompt("task", "one")])
    assert len(asked) == 2 and KEY not in str(refusal.value)


def test_requests_under_way_are_kept_when_another_is_refused(endpoint, tmp_path):
    arrived, refused = threading.Event(), threading.Event()

    def answer(said):
        if said == "two":
            arrived.set()
            refused.wait(10)
            time.sleep(0.2)  # the refusal comes first
            return 200, reply('"paid for"')
        arrived.wait(10)
        refused.set()
        return 401, "{}"

    url, asked = endpoint(answer)
    ours = writer(url, tmp_path, concurrency=2)
    prompts = [Prompt("task", name) for name in ("one", "two", "three")]
    with pytest.raises(InputError, match="status 401"):
        ours.write(prompts)
    assert ours.cache.get(ours.key(prompts[1])).text == "paid for" and len(asked) == 2


def test_nothing_is_tried_again_after_a_refusal(endpoint, tmp_path):
    failed = threading.Event()

    def answer(said):
        if said == "two":
            failed.set()
            return 500, "{}"
        failed.wait(10)
        return 401, "{}"

    url, asked = endpoint(answer)
    ours = writer(url, tmp_path)
    ours._pause = lambda state: 300.0
    with pytest.raises(InputError, match="status 401"):
        ours.write([Prompt("task", "one"), Prompt("task", "two")])
    assert len(asked) == 2


def test_an_answer_without_room_is_not_paid_for_again(endpoint, tmp_path):
    url, asked = endpoint(reply('""', finish="length"))
    with pytest.raises(InputError, match="Raise max_tokens in --request"):
        writer(url, tmp_path).write([Prompt("task", "one")])
    assert len(asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("padding", [0, 280])
def test_the_key_is_in_no_message_though_the_endpoint_repeats_it(
    endpoint, tmp_path, status, padding
):
    url, _ = endpoint(
        json.dumps({"error": {"message": "x" * padding + "KEY", "code": "c"}}), status
    )
    with pytest.raises(InputError) as refusal:
        writer(url, tmp_path).write([Prompt("task", "one")])
    error = refusal.value
    while error is not None:
        assert not isinstance(error, InputError | Retry) or KEY[:6] not in str(error)
        error = error.__cause__


def test_the_key_is_in_no_repr():
    assert KEY not in repr(LlmSettings("m", None, KEY))


def test_a_word_that_serves_as_a_key_is_left_in_texts():
    assert LlmSettings("m", None, "none").redact("none of these") == "none of these"


def test_request_fields_reach_the_endpoint_whatever_their_names(endpoint, tmp_path):
    url, asked = endpoint(reply('"fine"'))
    writer(url, tmp_path, max_tokens=4, top_k=5).write([Prompt("task", "one")])
    assert asked[0]["max_tokens"] == 4 and asked[0]["top_k"] == 5 and asked[0]["model"] == "m"


@pytest.fixture
def command(toy, tmp_path, monkeypatch, capsys):
    """Run `ur4rec extract text --write llm`; returns the exit code and what was said."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "m")

    def run(url, *words):
        output = ["--output", str(tmp_path / "t.npz"), "--encoder", "tfidf"]
        fixed = ["extract", "text", *toy, "--write", "llm", "--attempts", "2", "--backoff", ".001"]
        code = main([*fixed, "--base-url", url, *output, *words])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


PRICES = ["--price-in", "1", "--price-out", "1"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([*PRICES, "--max-cost", "nan"], "--max-cost"),
        ([*PRICES, "--max-cost", "-1"], "--max-cost"),
        ([*PRICES, "--max-cost", "inf"], "--max-cost"),
        (["--price-in", "-1", "--price-out", "1", "--max-cost", "1"], "--price-in"),
        (["--price-in", "1", "--price-out", "nan", "--max-cost", "1"], "--price-out"),
        (["--price-in", "1", "--price-out=-inf"], "--price-out"),
        (["--max-cost", "1"], "--price-in"),
        ([*PRICES, "--max-cost", "1", "--request", '{"max_tokens": null}'], "max_tokens"),
        ([*PRICES, "--max-cost", "0.000001"], "--max-cost"),
        (["--request", '{"max_tokens": "many"}'], "max_tokens"),
        (["--request", '{"max_tokens": -5}'], "max_tokens"),
        (["--request", '{"max_tokens": 1e9}'], "max_tokens"),
        (["--request", '{"max_completion_tokens": 0}'], "max_completion_tokens"),
        (["--request", '{"n": 100}'], "--request"),
        (["--request", '{"model": "other"}'], "--request"),
        (["--request", '{"stream": true}'], "--request"),
        (["--request", "[1]"], "--request"),
        (["--backoff", "nan"], "--backoff"),
        (["--timeout", "inf"], "--timeout"),
        (["--concurrency", "0"], "--concurrency"),
        (["--dry-run", "-1"], "--dry-run"),
        (["--cache", "/proc/none/cache"], "cache"),
    ],
)
def test_limits_that_hold_nothing_back_are_refused_before_any_request(
    endpoint, command, words, named
):
    url, asked = endpoint(reply('"fine words"'))
    code, told = command(url, *words)
    assert code == 2 and named in told and "Traceback" not in told
    assert not asked


def test_a_cache_that_another_run_fills_is_refused_before_any_request(endpoint, command, tmp_path):
    url, asked = endpoint(reply('"fine words"'))
    cache = str(tmp_path / "answers")
    with exclusive_lock(f"{cache}.lock"):
        code, told = command(url, "--cache", cache)
    assert code == 2 and f"--cache {cache} must be one process's" in told and not asked


def test_what_another_run_has_asked_meanwhile_is_not_asked_again(endpoint, tmp_path):
    url, asked = endpoint(reply('"fine"'))
    prompts = [Prompt("task", "one"), Prompt("task", "two")]
    ours = writer(url, tmp_path, concurrency=1)
    ours.progress = lambda _: ours.cache.put(ours.key(prompts[1]), Answer("theirs", 1, 1))
    assert ours.write(prompts) == ["fine", "theirs"] and len(asked) == 1


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_run_within_its_limit_asks(endpoint, command, limit):
    url, asked = endpoint(reply('"fine words of a film"'))
    request = json.dumps({"max_tokens": None, limit: 9})
    code, told = command(url, *PRICES, "--max-cost", "1", "--request", request)
    assert code == 0 and len(asked) == 14 and "at most 126 answer tokens" in told


@pytest.mark.parametrize("code", ["content_filter", "context_length_exceeded"])
def test_a_prompt_that_is_refused_for_itself_is_told_and_the_others_go_on(
    endpoint, command, tmp_path, code
):
    refusal = json.dumps({"error": {"message": "no", "code": code}})
    url, asked = endpoint(
        lambda said: (400, refusal) if "Film 3" in said else (200, reply('"fine words"'))
    )
    ended, told = command(url)
    assert ended == 0 and f"refused the prompt: i3 (status 400: {code})\n" in told
    assert len(asked) == 14 and "i3" not in FeatureTable.load(tmp_path / "t.npz").tokens
    assert command(url)[0] == 0 and len(asked) == 15  # that one alone


def test_answers_without_a_limit_are_called_so(endpoint, command):
    url, _ = endpoint(reply('"fine words"'))
    code, told = command(url, *PRICES, "--dry-run", "--request", '{"max_tokens": null}')
    assert code == 0 and "any number of answer tokens; cost without a limit" in told


def test_the_key_is_in_nothing_that_the_command_prints_or_writes(endpoint, command, tmp_path):
    url, _ = endpoint(reply('"fine words KEY"'))
    code, told = command(url)
    assert code == 0 and KEY not in told
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert written and not any(KEY.encode() in data for data in written)


@pytest.mark.parametrize("key", ["sk-caf\xe9-123456", "sk one two three"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(command, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    code, told = command("http://127.0.0.1:9/v1")
    assert code == 2 and "OPENAI_API_KEY" in told and key not in told


@pytest.mark.parametrize(
    "url",
    ["http://a:port/v1", "http://a:99999/v1", "http://a\r\nb/v1", "http://[::1", "a:80/v1", " ",
     "http:///v1", "http://\u2603/v1"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(command, url):
    code, told = command(url)
    assert code == 2 and "OPENAI_BASE_URL" in told and "Traceback" not in told


def test_an_address_may_come_from_a_file_of_another_system(endpoint, command):
    url, asked = endpoint(reply('"fine words"'))
    assert command(f" {url}\r\n")[0] == 0 and asked


def test_a_foreign_or_broken_cache_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database" * 100)
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE answers (something TEXT)")
    with pytest.raises(InputError, match="cache 'text'"):
        AnswerCache(str(tmp_path / "text"))
    with pytest.raises(InputError, match="cache 'other'"):
        AnswerCache(str(tmp_path / "other")).get("key")
