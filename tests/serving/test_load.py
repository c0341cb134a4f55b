"""Under load the service loses no request, neither when it takes a new model nor when it ends."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from tests.serving.test_recommender import recommender  # noqa: E402
from ur4rec_recbole.serving import load  # noqa: E402


@pytest.mark.slow
def test_no_request_is_lost(full_toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(load, "RATE", 25)
    monkeypatch.setattr(load, "SECONDS", 4)
    found = load.measure(recommender(full_toy()), [["i1", "i2"], ["i3"]])
    assert found["at_25_requests_a_second"]["answered"] == 100
    assert found["while_a_new_model_is_loaded"]["taken"]
    assert found["while_a_new_model_is_loaded"]["answered"] == 100
    ended = found["while_it_is_ended"]
    assert ended["answered"] > 5 and ended["refused"] > 5 and "lost" not in ended
