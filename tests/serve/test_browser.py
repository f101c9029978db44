"""The verify page in Chromium: what a visitor sees, with and without scripts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tests.serve.conftest import Provider, stripped
from tests.serve.running import Service

from watermark.serve import signed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
Size = tuple[int, int]
DESKTOP, PHONE = (1200, 900), (390, 844)
PATIENCE = 60

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="needs Debian's packages chromium and chromium-driver",
    ),
    # Selenium leaves its own sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from _browser(tmp_path_factory.mktemp("downloads"), scripts=True)


@pytest.fixture(scope="module")
def plain_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One that runs no scripts."""
    yield from _browser(tmp_path_factory.mktemp("downloads"), scripts=False)


def _browser(downloads: Path, *, scripts: bool) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    settings: dict[str, Any] = {"download.default_directory": str(downloads)}
    if not scripts:
        settings["profile.managed_default_content_settings.javascript"] = 2
    options.add_experimental_option("prefs", settings)
    driver: Any = webdriver.Chrome(options=options, service=Driver(CHROMEDRIVER))
    driver.downloads = downloads
    try:
        yield driver
    finally:
        driver.quit()


def opened(driver: Any, service: Service, size: Size = DESKTOP) -> None:
    driver.set_window_size(*size)
    driver.get_log("browser")
    driver.get(service.url)


def sent(driver: Any) -> None:
    driver.find_element(By.ID, "check").click()
    WebDriverWait(driver, PATIENCE).until(
        lambda d: d.find_elements(By.CSS_SELECTOR, ".verdict, [role=alert]")
    )


def wrong(driver: Any) -> list[str]:
    """What the browser complains of: a policy that is broken, a file not found."""
    return [entry["message"] for entry in driver.get_log("browser")]


@pytest.fixture
def file(provider: Provider, tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(stripped(provider.file))
    return path


def test_a_file_is_checked(
    browser: Any, service: Service, provider: Provider, file: Path
) -> None:
    opened(browser, service)
    browser.find_element(By.ID, "file").send_keys(str(file))
    sent(browser)

    assert browser.find_element(By.CLASS_NAME, "verdict").text == "Marked"
    assert "picture.png" in browser.title
    assert provider.manifest_id in browser.find_element(By.CLASS_NAME, "tree").text
    assert wrong(browser) == []
    # The report is there to keep, though nothing was stored.
    browser.find_element(By.LINK_TEXT, "Download the signed report").click()
    kept = browser.downloads / "watermark-report.jws"
    WebDriverWait(browser, PATIENCE).until(lambda _: kept.exists())
    payload = signed.verify(kept.read_text(), anchors=provider.home.anchors)
    assert payload["report"]["verdict"] == "MARKED"
    kept.unlink()


def test_it_works_without_scripts(
    plain_browser: Any, service: Service, provider: Provider, file: Path
) -> None:
    opened(plain_browser, service)
    plain_browser.find_element(By.ID, "file").send_keys(str(file))
    plain_browser.find_element(By.TAG_NAME, "summary").click()
    plain_browser.find_element(By.ID, "token").send_keys(provider.token)
    sent(plain_browser)

    assert plain_browser.find_element(By.CLASS_NAME, "verdict").text == "Marked"
    assert "at most 1 in" in plain_browser.find_element(By.CLASS_NAME, "fires").text


def test_a_text_is_pasted_and_sent_with_the_keyboard(
    browser: Any, service: Service
) -> None:
    import hashlib

    opened(browser, service)
    browser.execute_script("document.body.focus()")
    focused: list[str] = []
    for _ in range(8):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focused.append(browser.switch_to.active_element.get_attribute("id") or "-")
    assert [name for name in focused if name != "-"] == ["file", "text", "check"]
    said = "One line\nand another one, which is short."
    browser.find_element(By.ID, "text").send_keys(said)
    sent(browser)

    assert browser.find_element(By.CLASS_NAME, "verdict").text == "Inconclusive"
    digest = hashlib.sha256(said.encode()).hexdigest()
    assert digest in browser.find_element(By.TAG_NAME, "main").text
    assert wrong(browser) == []


def test_a_file_can_be_dropped(browser: Any, service: Service) -> None:
    opened(browser, service)
    browser.execute_script(
        """
        const data = new DataTransfer();
        data.items.add(new File(["a text that was dropped"], "dropped.txt"));
        const event = new DragEvent("drop", {dataTransfer: data, bubbles: true});
        document.getElementById("drop").dispatchEvent(event);
        """
    )
    assert "dropped.txt" in browser.find_element(By.ID, "status").text
    sent(browser)

    assert "dropped.txt" in browser.find_element(By.CLASS_NAME, "subtitle").text


def test_nothing_to_check(browser: Any, service: Service) -> None:
    opened(browser, service)
    sent(browser)

    assert (
        "nothing to check" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    )


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (320, 640)])
def test_nothing_is_wider_than_the_window(
    browser: Any,
    service: Service,
    provider: Provider,
    file: Path,
    size: Size,
) -> None:
    def overflow() -> int:
        script = "return document.documentElement.scrollWidth - innerWidth"
        found: int = browser.execute_script(script)
        return found

    opened(browser, service, size)
    assert overflow() <= 0
    browser.find_element(By.ID, "file").send_keys(str(file))
    browser.find_element(By.TAG_NAME, "summary").click()
    browser.find_element(By.ID, "token").send_keys(provider.token)
    sent(browser)

    assert overflow() <= 0


def test_everything_has_a_name(browser: Any, service: Service) -> None:
    """What a screen reader says of each control: Chromium's own accessibility tree."""
    opened(browser, service)
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {"button", "textbox", "link", "DisclosureTriangle"}
    found = [n for n in tree if n.get("role", {}).get("value") in controls]

    assert len(found) >= 5
    for node in found:
        assert node["name"]["value"].strip(), node["role"]
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
