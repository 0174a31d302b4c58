"""The page in each browser on this machine, and a few verbs for its driver."""

import contextlib
import json
import threading
import time
from functools import partial

import pytest

from qwop_datasets.convert import Importing, episodes_of
from qwop_game.real.browser import Browser
from qwop_web import serve


def _wait(driver, script, seconds=30):
    """Until a script gives something true; returns that."""
    deadline = time.monotonic() + seconds
    while not (value := driver.execute_script(script)):
        assert time.monotonic() < deadline, script
        time.sleep(0.02)
    return value


def _play(driver, keys, pause=0.15):
    """Start a run and type."""
    from selenium.webdriver import ActionChains

    driver.execute_script("page.session.options.countdown = 0.1; document.activeElement.blur()")
    ActionChains(driver).send_keys(" ").perform()
    driver.wait("return page.session.phase === 'playing'")
    chain = ActionChains(driver)
    for key in keys:
        chain.key_down(key).pause(pause).key_up(key)
    chain.perform()


def _run(driver, script, *arguments):
    """What an asynchronous function of the page returns: its body, with `arguments` in scope."""
    found = driver.execute_async_script(
        "const given = Array.from(arguments), done = given.pop();"
        "(async (...arguments) => {" + script + "})(...given)"
        ".then((value) => done({value}), (error) => done({error: `${error}\\n${error.stack}`}))",
        *arguments,
    )
    assert "error" not in found, found["error"]
    return found.get("value")


@pytest.fixture(scope="session")
def address():
    with serve() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def driver(browser_pair):
    browser, its_driver = browser_pair
    with contextlib.closing(Browser(browser=browser.path, driver=its_driver.path, game=False)) as found:
        yield _with_verbs(found.selenium)


@pytest.fixture
def visible(browser_pair, screen, monkeypatch, address):
    """The page in a visible window, which has the keyboard of `screen`."""
    browser, its_driver = browser_pair
    if browser.family == "firefox":
        pytest.skip("keys were typed for real into Chromium only")
    monkeypatch.setenv("DISPLAY", screen.name)
    with contextlib.closing(
        Browser(browser=browser.path, driver=its_driver.path, game=False, headless=False)
    ) as found:
        driver = _with_verbs(found.selenium)
        driver.get(address)
        driver.wait("return window.page !== undefined && document.hasFocus()")
        yield driver


def _with_verbs(selenium):
    selenium.set_script_timeout(300)
    selenium.wait, selenium.play = partial(_wait, selenium), partial(_play, selenium)
    selenium.run = partial(_run, selenium)
    return selenium


@pytest.fixture
def page(driver, address):
    driver.get("about:blank")
    driver.get(address)
    driver.wait("return window.page !== undefined")
    yield driver
    driver.run("for (const {id} of page.records) await page.store?.remove(id)")


@pytest.fixture
def imported(tmp_path):
    """What `qwop-data convert` makes of a record of the page."""

    def of(record):
        path = tmp_path / "run.qwop.json"
        path.write_text(json.dumps(record), encoding="utf-8")
        (found,) = episodes_of(path, Importing())
        assert found.episode is not None, found.reason
        return found.episode

    return of
