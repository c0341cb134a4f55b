"""A load test of the service on this machine: a bounded number of requests, none of them lost.

Latencies count from when a request was due, not from when a busy client came to send it.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ur4rec_recbole.serving.recommender import Recommender

RATE, SECONDS, WORKERS = 50, 10, 8


class Outcome(NamedTuple):
    """What came of one request: "answered", "refused" (nobody listens) or "lost", and when."""

    kind: str
    milliseconds: float


def measure(recommender: Recommender, histories: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Serve a recommender in a process of its own and return rates, latencies and losses."""
    bodies = [json.dumps({"items": list(each)}).encode() for each in histories]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recommender.save(folder)
        with served(folder) as (process, port):
            send(port, bodies[0])  # the first one loads what it needs
            paced = send_all(port, bodies, RATE * SECONDS, RATE)
            began = time.perf_counter()
            flooded = send_all(port, bodies, RATE * SECONDS, None)
            rate = len(flooded) / (time.perf_counter() - began)
            loaded = health(port)["loaded"]
            changed = threading.Timer(SECONDS / 4, _save_changed, (recommender, folder))
            changed.start()
            reloaded = send_all(port, bodies, RATE * SECONDS, RATE)
            changed.join()
            taken = health(port)["loaded"] > loaded
            threading.Timer(1, process.send_signal, (signal.SIGTERM,)).start()
            killed = send_all(port, bodies, 2 * RATE, RATE)
            process.wait(30)
    return {
        f"at_{RATE}_requests_a_second": _told(paced),
        "requests_a_second": rate,
        "while_a_new_model_is_loaded": {"taken": taken} | _told(reloaded),
        "while_it_is_ended": _told(killed),
    }


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run `ur4rec serve` on a free port until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(folder), "--port", str(port), "--reload-seconds", "0.5"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ur4rec_recbole", *words], stdout=log, stderr=log,
            env=os.environ | {"UR4REC_API_KEY": ""},
        )  # fmt: skip
        try:
            for _ in range(600):
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read().decode(errors="replace"))
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield process, port
        finally:
            process.kill()
            process.wait()


def send_all(port: int, bodies: Sequence[bytes], count: int, rate: float | None) -> list[Outcome]:
    """Send `count` requests at a rate, or without one as fast as answers come."""
    began = time.perf_counter()

    def one(number: int) -> Outcome:
        due = time.perf_counter() if rate is None else began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        kind = send(port, bodies[number % len(bodies)])
        return Outcome(kind, 1000 * (time.perf_counter() - due))

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(one, range(count)))


def send(port: int, body: bytes) -> str:
    """Ask for recommendations on a connection of its own; return what came of it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.connect()
    except ConnectionError:
        return "refused"
    try:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", "/recommend", body, headers)
        response = connection.getresponse()
        whole = len(json.loads(response.read())["items"]) > 0
        return "answered" if response.status == 200 and whole else "lost"
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return "lost"
    finally:
        connection.close()


def health(port: int) -> dict[str, Any]:
    """Return what the service tells of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/health")
    told = json.loads(connection.getresponse().read())
    connection.close()
    return dict(told)


def _save_changed(recommender: Recommender, folder: Path) -> None:
    titles = recommender.titles | {recommender.index.tokens[1]: "changed"}
    Recommender(recommender.index, recommender.histories, titles).save(folder)


def _told(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    taken = [each.milliseconds for each in outcomes if each.kind == "answered"]
    p50, p99 = np.percentile(taken, [50, 99]).tolist()
    return {**Counter(each.kind for each in outcomes), "p50_ms": p50, "p99_ms": p99}
