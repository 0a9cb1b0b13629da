"""The page of a run in a real browser: headless Chromium, at a phone's and a desk's width."""

from __future__ import annotations

import base64
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.sr_batch.pages import AFTER, BEFORE, page_of

pytestmark = pytest.mark.slow

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)
PHONE, DESK = (390, 844), (1400, 1000)
SPLIT = "return getComputedStyle(arguments[0]).getPropertyValue('--split')"
PLACE = "return ['--x', '--y'].map(name => Number(getComputedStyle(arguments[0]).getPropertyValue(name)))"

Driver = Any  # selenium's, whose types are its own matter


def _start(folder: Path) -> Driver:
    """A browser, or a skipped test that says why there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install '.[dev]'")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or (chromedriver := shutil.which("chromedriver")) is None:
        pytest.skip("no Chromium with its driver here: on Debian and Ubuntu, apt install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(chromedriver, log_output=os.devnull)
    return selenium.Chrome(options=options, service=service)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = _start(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos of 300x400, of which 720x960 pixels of the result are shown, then a failure."""
    return page_of(tmp_path_factory.mktemp("page"), [(300, 400)] * 40, failures=1)


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desk"])
def opened(browser: Driver, page: Path, request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The page, opened at one width, its first card's pictures there; the console must stay empty to the end."""
    width, height = request.param
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 600})
    browser.get(page.as_uri())
    _wait(lambda: browser.execute_script("return document.querySelector('.after img')?.naturalWidth"))
    browser.execute_script("document.querySelector('.viewer').scrollIntoView({block: 'center'})")
    _wait(lambda: browser.execute_script(PLACE, _find(browser, ".viewer"))[0] < 0)
    yield browser
    assert browser.get_log("browser") == []


def _wait(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "the browser did not get there in 30 s"
        time.sleep(0.05)


def _find(browser: Driver, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def _colours(browser: Driver) -> tuple[int, int]:
    """Which picture is seen at a tenth and at nine tenths of the first viewer: numbers of BEFORE (0) or AFTER (1)."""
    box = _find(browser, ".viewer").rect
    scroll = browser.execute_script("return scrollY")
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    with Image.open(io.BytesIO(base64.b64decode(shot))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    seen = []
    for at in (0.1, 0.9):
        pixel = pixels[round(box["y"] - scroll + box["height"] * 0.7), round(box["x"] + box["width"] * at)]
        distances = [int(np.abs(pixel - colour).sum()) for colour in (BEFORE, AFTER)]
        assert min(distances) < 40, pixel
        seen.append(distances.index(min(distances)))
    return seen[0], seen[1]


def _drag(browser: Driver, start: tuple[float, float], by: tuple[float, float]) -> None:
    """With a finger where the screen is touched, else with the mouse; from a point of the window."""
    end = (start[0] + by[0], start[1] + by[1])
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    touch = browser.execute_script("return innerWidth < 600")
    event: dict[str, object]
    for kind, at in (("start", start), ("move", middle), ("move", end), ("end", end)):
        if touch:
            points = [] if kind == "end" else [{"x": at[0], "y": at[1]}]
            event = {"type": f"touch{kind.capitalize()}", "touchPoints": points}
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        else:
            kinds = {"start": "mousePressed", "move": "mouseMoved", "end": "mouseReleased"}
            event = {"type": kinds[kind], "x": at[0], "y": at[1], "button": "left", "clickCount": 1, "buttons": 1}
            browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def _centre(browser: Driver, selector: str) -> tuple[float, float]:
    """In the window."""
    script = "const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]"
    x, y = browser.execute_script(script, _find(browser, selector))
    return x, y


def test_the_page_fits_the_window_and_its_pictures_load(opened: Driver) -> None:
    wide = opened.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide == 0
    shown = "return [...document.images].map(i => [i.complete, i.naturalWidth, i.closest('.pane') ? i.width : 0])"
    pictures = opened.execute_script(shown)
    assert all(complete and natural for complete, natural, _ in pictures)
    assert {width for *_, width in pictures} == {0, 960}  # 100 %: a pixel of the result is a pixel of the page
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [address for address in loaded if not address.startswith("data:")] == []


def test_only_the_cards_near_the_window_hold_pictures(opened: Driver) -> None:
    waiting = "return document.querySelectorAll('article template').length"
    assert 0 < opened.execute_script(waiting) < 40
    opened.execute_script("document.querySelector('#card40').scrollIntoView()")
    _wait(lambda: opened.execute_script("return document.querySelector('#card40 .after img')?.naturalWidth"))
    assert opened.execute_script(waiting) > 10


def test_the_line_is_dragged(opened: Driver) -> None:
    assert _colours(opened) == (0, 1)
    width = _find(opened, ".viewer").rect["width"]
    for by, seen in ((0.48, (0, 0)), (-0.95, (1, 1))):
        _drag(opened, _centre(opened, ".handle"), (by * width, 0))
        assert _colours(opened) == seen


def test_the_line_is_moved_by_keys_and_says_where_it_is(opened: Driver) -> None:
    slider = _find(opened, "input[type=range]")
    slider.send_keys("\ue012" * 3)  # arrow left
    assert float(opened.execute_script(SPLIT, _find(opened, ".viewer"))) == 47
    assert slider.get_attribute("aria-valuetext") == "47 % before, 53 % after"
    slider.send_keys("\ue011")  # home
    assert _colours(opened) == (1, 1)


def test_the_picture_is_moved_by_dragging_and_by_keys_and_stays_in_its_frame(opened: Driver) -> None:
    viewer = _find(opened, ".viewer")
    x, y = opened.execute_script(PLACE, viewer)
    left = (_centre(opened, ".viewer")[0] - 100, _centre(opened, ".viewer")[1] + 60)
    _drag(opened, left, (60, 0))
    assert opened.execute_script(PLACE, viewer) == [x + 60, y]
    viewer.send_keys("\ue012\ue013")  # arrow left, arrow up
    assert opened.execute_script(PLACE, viewer) == [x + 100, y + 40]
    for _ in range(30):
        viewer.send_keys("\ue012\ue013")
    assert opened.execute_script(PLACE, viewer) == [0, 0]
    assert float(opened.execute_script(SPLIT, viewer)) == 50  # the line stayed where it was


def test_a_card_is_enlarged_and_comes_back(opened: Driver) -> None:
    small = _find(opened, ".viewer").size
    _find(opened, "article button").click()
    large = _find(opened, "dialog .viewer").size
    assert large["width"] * large["height"] > 1.5 * small["width"] * small["height"]
    assert opened.execute_script("return document.activeElement.textContent") == "Close"
    opened.switch_to.active_element.send_keys("\ue00c")  # escape
    _wait(lambda: opened.execute_script("return document.querySelector('article .viewer') !== null"))
    assert _find(opened, "article .viewer").size == small
    assert not opened.find_elements("css selector", "dialog .viewer, dialog input")


def test_cards_are_found_by_name_and_by_what_became_of_them(opened: Driver) -> None:
    _find(opened, "#named").send_keys("photo 3")
    assert _find(opened, "#count").text == "11 of 41 shown"
    _find(opened, "#kind").send_keys("failed")
    assert _find(opened, "#count").text == "0 of 41 shown"
    _find(opened, "#named").send_keys("\ue003" * len("photo 3"))  # backspace
    assert _find(opened, "#count").text == "1 of 41 shown"


def test_a_screen_reader_is_told_what_there_is(opened: Driver) -> None:
    opened.execute_cdp_cmd("Accessibility.enable", {})
    nodes = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    names = {role: {name for kind, name in found if kind == role} for role, _ in found}
    assert any(name.startswith("Divider between before and after") for name in names["slider"])
    assert "After: the result" in names["image"] and "The whole photo" in names["image"]
    assert any("arrow keys move it" in name for name in names["group"])
    for role in ("slider", "image", "button", "link", "article"):
        assert names[role] and "" not in names[role], role


@pytest.mark.parametrize(("scheme", "dark"), [("dark", True), ("light", False)])
def test_the_page_is_dark_where_the_system_is(opened: Driver, scheme: str, dark: bool) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(ground) < 200) == dark
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
