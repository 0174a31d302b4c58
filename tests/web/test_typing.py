"""Keys as a person gives them, typed, touched or on a gamepad: the file has exactly those."""

import time

import numpy as np
import pytest

from qwop_datasets import KEY_SOURCES
from qwop_recorder.key_events import KeyEvent, keys_from_events

pytestmark = pytest.mark.real_game

KEEP = "page.session.phase = 'ended'; page.command('keep')"


def check(episode, instants):
    """Every frame of the file follows from the keys' own stamps."""
    events = [KeyEvent(t, k, p, "page") for t, k, p, _ in episode.key_events.tolist()]
    assert (keys_from_events(events, instants) == episode.keys).all()
    assert episode.provenance["page_sha256"] == "checked"


def typed(episode):
    return [(int(e["key"]), bool(e["pressed"])) for e in episode.key_events]


def stretches(keys, key):
    """How often `key` is held in one piece."""
    held = (keys & key > 0).astype(int)
    return int((np.diff(held, prepend=0) == 1).sum())


def start(driver, screen):
    driver.execute_script("page.session.options.countdown = 0.1")
    screen.type("key space")
    driver.wait("return page.session.phase === 'playing'")


@pytest.mark.parametrize("script", ["taps and repeats", "rollover"])
def test_every_key_that_xdotool_types_is_in_the_file(visible, screen, imported, script):
    text = screen.ROLLOVER if script == "rollover" else f"{screen.TAPS} {screen.REPEAT}"
    start(visible, screen)
    screen.type(text)
    # On a machine that is so slow that the runner falls meanwhile, what was typed before is in the run.
    expected = screen.sent(text)
    visible.wait(
        "return page.session.phase === 'ended' ||"
        f" page.queue.events.length === 0 && page.session.run.events.length >= {len(expected)}"
    )
    fallen = visible.execute_script("return page.session.run.ended")
    visible.execute_script(KEEP)
    record = visible.wait("return page.records[0]")
    episode = imported(record)
    check(episode, record["instants"])
    shown = typed(episode)
    assert shown == (expected[: len(shown)] if fallen else expected), record["events"]
    assert {KEY_SOURCES[i] for i in episode.key_events["source"]} == {"page"}
    slowest = np.diff(record["instants"]).max()
    if fallen:
        return
    if script == "rollover":
        assert [stretches(episode.keys, key) for key in (1, 2, 4, 8)] == [1, 1, 1, 1]
        assert 15 in episode.keys.tolist() or slowest > 0.05
    else:
        # A tap of 5 ms counts for one frame or two; a key that repeats is held in one piece.
        assert stretches(episode.keys, 1) == 3 or slowest > 0.14
        assert stretches(episode.keys, 8) == stretches(episode.keys, 4) == 1
        release, press = episode.key_events["time"][-1], episode.key_events["time"][-2]
        assert release - press > 0.59


def test_what_is_typed_elsewhere_is_not_recorded(visible, screen, imported):
    start(visible, screen)
    window = screen.focused()
    screen.type("keydown q sleep 0.1")
    visible.wait("return page.session.run.events.length === 1")
    with screen.another_window() as other:
        screen.type(f"windowfocus {other} sleep 0.2 keyup q keydown w sleep 0.1 keyup w sleep 0.1")
        visible.wait("return page.session.phase === 'paused' && page.queue.down === 0")
        frames = visible.execute_script("return page.session.run.frames")
        screen.type(f"windowfocus {window} sleep 0.2")
    visible.wait("return document.hasFocus()")
    assert visible.execute_script("return page.session.run.frames") == frames
    screen.type("key space")
    visible.wait(f"return page.session.run.frames > {frames + 2}")
    screen.type("keydown o sleep 0.1 keyup o")
    visible.wait("return page.session.run.events.length === 4")
    visible.execute_script(KEEP)
    record = visible.wait("return page.records[0]")
    episode = imported(record)
    check(episode, record["instants"])
    assert typed(episode) == screen.sent("keydown q keyup q keydown o keyup o")
    sources = [KEY_SOURCES[i] for i in episode.key_events["source"]]
    assert sources == ["page", "resume", "page", "page"]


def test_fingers_on_the_screens_keys(page, imported):
    """The driver's touch pointers: two fingers at once, a tap, and a finger that slides off its key."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    page.play("")
    key = {name: page.find_element("css selector", f"[data-key={name}]") for name in "qwop"}
    first, second = PointerInput(POINTER_TOUCH, "first"), PointerInput(POINTER_TOUCH, "second")
    actions = ActionBuilder(page, mouse=first)
    actions.devices.append(second)
    for finger, name in ((first, "q"), (second, "p")):
        finger.create_pointer_move(duration=0, origin=key[name])
    for finger in (first, second):
        finger.create_pointer_down(button=0)
        finger.create_pause(0.2)
    second.create_pointer_up(button=0)
    first.create_pointer_move(duration=100, x=0, y=-120, origin=key["q"])  # the finger keeps its key
    second.create_pause(0.1)
    first.create_pointer_up(button=0)
    actions.perform()
    page.wait("return page.session.run.events.length === 4")
    page.execute_script(KEEP)
    record = page.wait("return page.records[0]")
    episode = imported(record)
    check(episode, record["instants"])
    assert set(typed(episode)) == {(1, True), (8, True), (8, False), (1, False)}
    assert typed(episode)[2:] == [(8, False), (1, False)] and 9 in episode.keys.tolist()


def test_the_buttons_of_a_gamepad(page, imported):
    """No gamepad can be had here: `navigator.getGamepads` is replaced, the rest is the page's."""
    page.execute_script(
        "window.pressed = new Set();"
        "const buttons = new Proxy({}, { get: (_, i) => ({ pressed: pressed.has(Number(i)) }) });"
        "Object.defineProperty(navigator, 'getGamepads', { value: () => [null, { buttons }] })"
    )
    page.play("")
    for pressed in ([4], [4, 5], [5], [], [2], [1, 2], []):  # Q, Q + P, P, none, W, W + O, none
        page.execute_script("pressed = new Set(arguments[0])", pressed)
        time.sleep(0.12)
    page.wait("return page.session.run.events.length >= 8")
    page.execute_script(KEEP)
    record = page.wait("return page.records[0]")
    episode = imported(record)
    check(episode, record["instants"])
    assert typed(episode) == [
        (1, True),
        (8, True),
        (1, False),
        (8, False),
        (2, True),
        (4, True),
        (2, False),
        (4, False),
    ]
    shown = [int(k) for i, k in enumerate(episode.keys) if i == 0 or k != episode.keys[i - 1]]
    assert [k for k in shown if k] == [1, 9, 8, 2, 6] or np.diff(record["instants"]).max() > 0.1
