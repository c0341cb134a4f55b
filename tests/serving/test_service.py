"""The service answers, refuses what makes no sense, and takes a new model without a gap."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient  # noqa: E402

from tests.conftest import make_table  # noqa: E402
from tests.serving.test_recommender import learned_toy, recommender  # noqa: E402
from ur4rec_recbole.commands.main import main  # noqa: E402
from ur4rec_recbole.serving import service  # noqa: E402
from ur4rec_recbole.serving.holder import Holder  # noqa: E402
from ur4rec_recbole.serving.ranking import Recommendations  # noqa: E402
from ur4rec_recbole.serving.recommender import Recommender  # noqa: E402
from ur4rec_recbole.serving.service import LARGEST_BODY, create_app  # noqa: E402

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def folder(full_toy: Any, tmp_path: Path) -> Path:
    made = recommender(full_toy())
    made.titles = {"i1": f"First {SCRIPT}", "i2": "Second"}
    made.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def holder(folder: Path) -> Holder:
    return Holder(folder)


@pytest.fixture
def client(holder: Holder) -> Any:
    with TestClient(create_app(holder)) as client:
        yield client


def test_recommendations_are_the_recommenders(client: TestClient, holder: Holder) -> None:
    answer = client.post("/recommend", json={"items": ["i3", "?"], "k": 4}).json()
    expected = holder.recommender.recommend(["i3", "?"], k=4)
    assert [each["item"] for each in answer["items"]] == expected.items
    assert [each["score"] for each in answer["items"]] == pytest.approx(expected.scores)
    assert answer["unknown"] == ["?"]


def test_similar_items_come_with_titles(client: TestClient) -> None:
    answer = client.post("/similar", json={"item": "i1", "k": 20}).json()
    titles = {each["item"]: each["title"] for each in answer["items"]}
    assert titles["i2"] == "Second" and "i1" not in titles


def test_an_explanation_is_told(client: TestClient) -> None:
    told = client.post("/explain", json={"items": ["i1", "i2"], "item": "i9"}).json()
    assert sum(told["parts"].values()) == pytest.approx(told["score"], abs=1e-3)
    assert {token for token, _ in told["history"]} == {"i1", "i2"}


def test_new_items_can_be_recommended_at_once(client: TestClient) -> None:
    vector = make_table("item_text", ["x"], 6, 3).vectors[0].tolist()
    body = {"items": [{"item": "new", "title": "New", "vectors": {"text": vector}}]}
    assert client.post("/items", json=body).status_code == 201
    answer = client.post("/recommend", json={"items": ["i1"], "include_only": ["new"]}).json()
    assert [(each["item"], each["title"]) for each in answer["items"]] == [("new", "New")]
    answer = client.post("/recommend", json={"items": ["i1"], "only_new": True}).json()
    assert [each["item"] for each in answer["items"]] == ["new"]


def test_texts_of_new_items_are_taken_where_their_encoder_had_to_learn(
    toy: Any, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    recommender(learned_toy(toy)).save(tmp_path / "learned")
    with TestClient(create_app(Holder(tmp_path / "learned"))) as client:
        body = {"items": [{"item": "new", "text": "red wool"}]}
        assert client.post("/items", json=body).status_code == 201
        answer = client.post("/recommend", json={"items": ["i1"], "include_only": ["new"]}).json()
    assert [each["item"] for each in answer["items"]] == ["new"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"items": ["i1"], "k": NaN}', 422),
        (b'{"items": ["i1"], "now": NaN}', 422),
        (b'{"items": ["\\ud800"]}', 422),
        (b'{"items": ["i1"], "\\ud800": 1}', 422),
        (b'{"items": ["\xff"]}', 400),
        (b"[" * 100_000, 400),
        (b'{"items": ["i1"], "k": ' + b"9" * 5000 + b"}", 400),
        (b"null", 422),
    ],
)
def test_a_body_that_is_no_request_is_refused(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/recommend", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize("length", ["-5", "9" * 5000, "\u0662", ""])
def test_a_length_that_is_none_is_refused(client: TestClient, length: str) -> None:
    headers = {"Content-Length": length.encode()}
    assert client.post("/recommend", content=b"{}", headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/recommend", {"items": ["i1"], "k": 0}, 422),
        ("/recommend", {"items": "i1"}, 422),
        ("/recommend", {"items": ["i1"], "surprise": 1}, 422),
        ("/recommend", {"items": ["i1"], "times": ["noon"]}, 422),
        ("/recommend", {"items": ["i1"], "times": ["1.5\0"]}, 422),
        ("/recommend", {"items": ["i1", "i2"], "times": [-1.7e308, 1.7e308]}, 422),
        ("/recommend", {"items": ["i1"], "user": "stranger"}, 422),
        ("/recommend", {"items": ["i1"] * 10_001}, 422),
        ("/similar", {"item": "?"}, 404),
        ("/explain", {"items": [], "item": "i1"}, 422),
        ("/items", {"items": [{"item": "new"}]}, 422),
        ("/items", {"items": [{"item": "new", "vectors": {"text": [1.0]}}]}, 422),
        ("/items", {"items": [{"item": "[PAD]", "vectors": {"text": [1.0] * 6}}]}, 422),
        ("/items", {"items": [{"item": "new", "vectors": {"text": [1e38] * 6}}]}, 422),
        ("/nowhere", {}, 404),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    client: TestClient, path: str, body: Any, status: int
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_body_that_is_too_long_is_not_read(client: TestClient) -> None:
    answer = client.post("/recommend", content=b" " * (LARGEST_BODY + 1))
    assert answer.status_code == 413
    assert client.post("/recommend", content=iter([b"{}"])).status_code == 413  # says no length
    chunked = {"Content-Length": "2", "Transfer-Encoding": "chunked"}  # the length is not held to
    assert client.post("/recommend", content=b"{}", headers=chunked).status_code == 413


def test_what_is_beyond_the_requests_at_a_time_is_told_to_come_again(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> Recommendations:
        begun.set()
        assert may_end.wait(60)
        return Recommendations([], [])

    monkeypatch.setattr(holder.recommender, "recommend", slow)
    body = {"items": ["i1"]}
    with TestClient(create_app(holder, concurrency=1)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/recommend", json=body)
        try:
            assert begun.wait(60)
            refused = client.post("/recommend", json=body)
            watched = [client.get(path).status_code for path in ("/health", "/metrics")]
        finally:
            may_end.set()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert first.result().status_code == 200 and watched == [200, 200]
        assert client.post("/recommend", json=body).status_code == 200


def test_a_key_is_asked_for_where_there_is_one(holder: Holder) -> None:
    client = TestClient(create_app(holder, "secret"))
    body = {"items": ["i1"]}
    assert client.post("/recommend", json=body).status_code == 401
    assert client.post("/recommend", json=body, headers={"X-API-Key": b"\xe9"}).status_code == 401
    allowed = client.post("/recommend", json=body, headers={"X-API-Key": "secret"})
    assert allowed.status_code == 200
    assert client.get("/search").status_code == 401
    assert client.get("/health").status_code == 200


def test_bodies_that_never_come_keep_nobody_from_an_answer(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE", 1.0)
    app = create_app(holder, "secret", concurrency=1)
    asked = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b""}

    async def status(key: bytes, body: bytes) -> int:
        headers = [(b"content-length", b"15"), (b"content-type", b"application/json")]
        sent: list[int] = []
        parts = [{"type": "http.request", "body": body, "more_body": not body}]

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await asyncio.sleep(100)
            raise AssertionError

        async def send(message: Any) -> None:
            sent.extend([message["status"]] if "status" in message else [])

        await app({**asked, "headers": [*headers, (b"x-api-key", key)]}, receive, send)
        return sent[0]

    async def together() -> list[int]:
        full = b'{"items":["i1"]}'
        return await asyncio.gather(
            status(b"wrong", b""), status(b"secret", b""), status(b"secret", full)
        )

    assert asyncio.run(together()) == [401, 408, 200]


def test_ports_that_are_none_are_refused(folder: Path, capsys: Any) -> None:
    for words in (["--port", "99999"], ["--port", "-5"], ["--reload-seconds", "nan"]):
        assert main(["serve", str(folder), *words]) == 2
        assert words[0] in capsys.readouterr().err


def test_health_and_metrics_tell_what_is_served(client: TestClient) -> None:
    client.post("/recommend", json={"items": ["i1"]})
    client.post("/secret-of-a-client")
    assert client.get("/health").json()["items"] == 20
    text = client.get("/metrics").text
    assert 'ur4rec_requests_total{path="/recommend",status="200"} 1.0' in text
    assert "ur4rec_items 20.0" in text
    assert "secret-of-a-client" not in text


def test_the_interface_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/recommend", "/similar", "/items", "/health", "/metrics"} <= set(paths)
    assert client.get("/docs").status_code == 200


def test_images_are_those_of_the_folder(holder: Holder, tmp_path: Path) -> None:
    (tmp_path / "i1.png").write_bytes(b"an image")
    client = TestClient(create_app(holder, "secret", {"i1": tmp_path / "i1.png"}))
    key = {"X-API-Key": "secret"}
    found = client.get("/image", params={"item": "i1"}, headers=key)
    assert (found.content, found.headers["content-type"]) == (b"an image", "image/png")
    assert client.get("/image", params={"item": "../i1"}, headers=key).status_code == 404
    assert client.get("/image", params={"item": "i1"}).status_code == 401
    assert client.get("/health").json()["images"] == 1


def test_a_search_finds_titles_and_ids(client: TestClient) -> None:
    found = client.get("/search", params={"query": "SECOND"}).json()
    assert found == [{"item": "i2", "title": "Second"}]
    assert {"item": "i13", "title": ""} in client.get("/search", params={"query": "i1"}).json()


def test_the_page_sets_text_and_never_markup(client: TestClient) -> None:
    page, script = client.get("/"), client.get("/page.js")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in script.text
    assert SCRIPT not in page.text
    # JSON keeps a title as it is: nothing takes it for markup
    found = client.get("/search", params={"query": "first"})
    assert found.json()[0]["title"].endswith(SCRIPT)
    assert found.headers["content-type"] == "application/json"


def test_a_new_model_is_taken_and_a_broken_one_is_not(
    full_toy: Any, folder: Path, holder: Holder, client: TestClient
) -> None:
    before = client.post("/recommend", json={"items": ["i1"]}).json()
    assert not holder.reload()
    (folder / "recommender.json").write_text("{}")
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest + " ")
    assert not holder.reload()  # the same content
    (folder / "manifest.json").write_text(manifest.replace('"version": 1', '"version": 2'))
    assert not holder.reload()
    assert client.get("/health").json()["failed_reloads"] == 1
    assert client.post("/recommend", json={"items": ["i1"]}).json() == before
    recommender(full_toy(exclude_history=True, fusion="gated", seed=5)).save(folder)
    assert holder.reload()
    assert client.post("/recommend", json={"items": ["i1"]}).json() != before


def test_a_model_that_could_not_be_read_for_a_while_is_taken_later(
    full_toy: Any, folder: Path, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender(full_toy(seed=5)).save(folder)
    read, tried = Recommender.load, threading.Semaphore(0)

    def short_of_memory(path: Path) -> Any:
        tried.release()
        raise MemoryError

    monkeypatch.setattr(Recommender, "load", short_of_memory)
    before, loaded = holder.recommender, holder.loaded
    holder.watch(0.01)
    try:
        assert all(tried.acquire(timeout=60) for _ in range(3))
        assert holder.recommender is before and holder.failures == 1
        monkeypatch.setattr(Recommender, "load", read)
        assert wait_until(lambda: holder.loaded > loaded)
    finally:
        holder.end()
    assert holder.recommender is not before and holder.failures == 1
    assert not holder.reload()


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


def test_a_service_for_others_needs_a_key(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UR4REC_API_KEY", raising=False)
    assert main(["serve", str(folder), "--host", "0.0.0.0"]) == 2
    assert "API key" in capsys.readouterr().err


def test_a_key_that_no_header_can_hold_is_refused(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UR4REC_API_KEY", "schl\u00fcssel")
    assert main(["serve", str(folder)]) == 2
    assert "UR4REC_API_KEY must be of printable ASCII" in capsys.readouterr().err
    (tmp_path / "key").write_text("two words")
    assert main(["serve", str(folder), "--api-key-file", str(tmp_path / "key")]) == 2
    assert "--api-key-file must be of printable ASCII" in capsys.readouterr().err


def test_a_service_answers_one_request_at_least(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(folder), "--concurrency", "0"]) == 2
    assert "--concurrency must be at least 1" in capsys.readouterr().err
