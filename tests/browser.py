"""Chromium without a window, for tests that look at pages as a reader does. Debian: apt-get install chromium-driver."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    (CHROMIUM is None or CHROMEDRIVER is None) and "PRORL_REQUIRE_CHROMIUM" not in os.environ,
    reason="Chromium and its driver aren't installed (Debian: apt-get install chromium chromium-driver)",
)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile in the folder `profile`; gone after the `with`, whatever happens in it."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        driver.set_page_load_timeout(120)
        driver.set_script_timeout(120)
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """What a test does with a page. `driver` is selenium's own, for the rest."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Until it has drawn itself."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        self.driver.get(page.as_uri())
        self.wait("return document.documentElement.dataset.ready")

    def js(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments, seconds: float = 90.0):
        """Until `script` returns something true; that is returned."""
        deadline = time.monotonic() + seconds
        while not (found := self.js(script, *arguments)):
            assert time.monotonic() < deadline, f"after {seconds} s it still isn't so: {script}"
            time.sleep(0.05)
        return found

    def choose(self, id: str, value: str) -> None:
        """What a reader does with a list or a field: set it, and the page hears of it."""
        self.js(
            "const it = document.getElementById(arguments[0]); it.value = arguments[1];"
            "for (const kind of ['input', 'change']) it.dispatchEvent(new Event(kind, { bubbles: true }));",
            *(id, value),
        )

    def texts(self, selector: str) -> list[str]:
        return self.js("return [...document.querySelectorAll(arguments[0])].map((it) => it.textContent)", selector)

    def complaints(self) -> list[str]:
        """What the page has written to the console since the last call: errors, refusals by its policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]
