"""The page to try a model, in a real browser: at every width, light and dark, and what it says."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
Image = pytest.importorskip("PIL.Image")

from tests.serving.test_recommender import recommender  # noqa: E402
from ur4rec_recbole.serving.holder import Holder  # noqa: E402
from ur4rec_recbole.serving.service import create_app  # noqa: E402

CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROME and DRIVER), reason="needs chromium and chromedriver"),
]
TITLE = "A title that is long enough to need a second line on a telephone, and <b>markup</b>"


@pytest.fixture
def address(full_toy: Any, tmp_path: Path) -> Iterator[str]:
    made = recommender(full_toy())
    made.titles = {f"i{n}": f"{TITLE} no. {n}" for n in range(1, 21)}
    made.save(tmp_path / "model")
    images = {}
    for n in range(1, 15):
        images[f"i{n}"] = tmp_path / f"i{n}.png"
        Image.new("RGB", (60, 40), (12 * n, 90, 160)).save(images[f"i{n}"])
    app = create_app(Holder(tmp_path / "model"), None, images)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROME
    for word in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={tmp_path}/chrome"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield opened
    opened.quit()


def all_of(browser: Any, selector: str, count: int) -> list[Any]:
    """Wait until all answers are there, and return so many elements."""
    for _ in range(200):
        if browser.find_element("tag name", "body").get_attribute("aria-busy") == "false":
            found = browser.find_elements("css selector", selector)
            assert len(found) == count, selector
            return list(found)
        time.sleep(0.05)
    raise AssertionError(f"no answer for {selector}")


def build_a_history(browser: Any, address: str) -> None:
    browser.get(address)
    all_of(browser, "#recommended li", 10)
    for number, query in enumerate(("no. 3", "i15"), 1):
        field = browser.find_element("id", "query")
        field.clear()
        field.send_keys(query)
        [add, *_] = all_of(browser, "#found li button", 1)
        add.click()
        all_of(browser, "#history li", number)


def test_a_visitor_searches_builds_a_history_and_asks_why(browser: Any, address: str) -> None:
    build_a_history(browser, address)
    shown = [each.text for each in all_of(browser, "#recommended li .label", 10)]
    assert all(text.startswith(TITLE) for text in shown)  # markup stays text
    ids = {each.text for each in all_of(browser, "#recommended .id", 10)}
    assert not ids & {"i3", "i15"}
    pictured = sum(int(each[1:]) < 15 for each in ids)
    all_of(browser, "#recommended img", pictured)
    all_of(browser, "#recommended button", 10)[0].click()
    [why] = all_of(browser, ".why", 1)
    assert "sequence" in why.text and "retrieval" in why.text and "no. 3" in why.text
    browser.find_element("css selector", "#history button").click()
    all_of(browser, "#history li", 1)
    browser.find_element("id", "clear").click()
    all_of(browser, "#history li", 0)
    assert not browser.find_element("id", "problem").text
    severe = [each for each in browser.get_log("browser") if each["level"] == "SEVERE"]
    assert all("image?item" in each["message"] or "favicon" in each["message"] for each in severe)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1280, 1920])
def test_the_page_fits_every_width_and_both_schemes(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    build_a_history(browser, address)
    all_of(browser, "#recommended button", 10)[0].click()
    all_of(browser, ".why", 1)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    text, page = (
        sum(int(n) for n in each[4:-1].split(",")) for each in browser.execute_script(colours)
    )
    assert (text < page) == (scheme == "light") and abs(text - page) > 400  # of 765
    if kept := os.environ.get("UR4REC_SCREENSHOTS"):
        browser.save_screenshot(f"{kept}/{scheme}-{width}.png")
