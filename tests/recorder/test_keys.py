"""Key events, the pressed set, the rule that makes frames of them, and the sources, with fake keyboards."""

import importlib.util
import os
import subprocess
import sys
import types

import numpy as np
import pygame
import pytest

from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W
from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KEYS, TICK, KeyEvent, KeyQueue, apply_events, keys_from_events, reconcile
from qwop_recorder.key_sources import PynputKeys, WindowKeys, open_key_source, pynput_obstacle


class Hands:
    """A clock that stands still, and a queue on it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.queue = KeyQueue(lambda: self.time)
        self.queue.set_focus(True)

    def at(self, time: float, key: int, pressed: bool) -> None:
        self.time = time
        self.queue.put(key, pressed, "test")


def held(queue: KeyQueue, down: int = 0) -> tuple[int, int]:
    """(keys of the frame, keys down after it)."""
    down, keys = apply_events(down, queue.sample()[0])
    return keys, down


def test_a_tap_shorter_than_a_frame_is_held_for_exactly_one_frame():
    hands = Hands()
    hands.at(0.010, KEY_Q, True)
    hands.at(0.015, KEY_Q, False)  # 5 ms
    hands.time = 0.033
    assert held(hands.queue) == (KEY_Q, 0)
    hands.time = 0.066
    assert held(hands.queue) == (0, 0)


def test_a_tap_across_a_sample_is_held_for_exactly_one_frame():
    hands = Hands()
    hands.at(0.030, KEY_O, True)
    hands.time = 0.033
    keys, down = held(hands.queue)
    assert (keys, down) == (KEY_O, KEY_O)
    hands.at(0.035, KEY_O, False)
    hands.time = 0.066
    assert held(hands.queue, down) == (0, 0)


def test_rollover_of_four_keys_keeps_each_key_its_own_frames():
    hands, frames, down = Hands(), [], 0
    # pressed one after the other and released in the same order, one change a frame
    changes = [(key, True) for key in (1, 2, 4, 8)] + [(key, False) for key in (1, 2, 4, 8)]
    for i, (key, pressed) in enumerate(changes):
        hands.at(i / 30 + 0.01, key, pressed)
        hands.time = (i + 1) / 30
        keys, down = held(hands.queue, down)
        frames.append(keys)
    assert frames == [1, 3, 7, 15, 14, 12, 8, 0]


def test_auto_repeat_is_one_press():
    hands = Hands()
    for i in range(25):  # what X sends for a key held a second: presses only
        hands.at(0.7 + 0.04 * i, KEY_W, True)
    hands.at(1.8, KEY_W, False)
    hands.at(1.81, KEY_W, False)
    events, _ = hands.queue.sample()
    assert [(event.time, event.key, event.pressed) for event in events] == [
        (0.7, KEY_W, True),
        (1.8, KEY_W, False),
    ]


def test_release_and_press_between_two_samples_leave_the_key_held():
    hands = Hands()
    hands.at(0.01, KEY_P, True)
    hands.time = 0.033
    _, down = held(hands.queue)
    hands.at(0.040, KEY_P, False)
    hands.at(0.050, KEY_P, True)
    hands.time = 0.066
    assert held(hands.queue, down) == (KEY_P, KEY_P)


def test_without_focus_nothing_is_taken_and_losing_it_lets_all_keys_go():
    hands = Hands()
    hands.at(0.01, KEY_Q, True)
    hands.at(0.02, KEY_O, True)
    hands.time = 0.03
    hands.queue.set_focus(False)
    hands.at(0.04, KEY_W, True)
    hands.at(0.05, KEY_Q, False)
    events, _ = hands.queue.sample()
    assert [(e.key, e.pressed, e.source) for e in events] == [
        (KEY_Q, True, "test"),
        (KEY_O, True, "test"),
        (KEY_Q, False, "focus"),
        (KEY_O, False, "focus"),
    ]
    hands.queue.set_focus(True)
    hands.at(0.06, KEY_W, True)  # auto-repeat of a key that is really down: from now on it counts
    assert [e.key for e in hands.queue.sample()[0]] == [KEY_W]


def test_stamps_alone_tell_on_which_side_of_a_sample_an_event_was():
    hands = Hands()
    hands.at(1.0, KEY_Q, True)
    before, instant = hands.queue.sample()  # all at the same moment of a coarse clock
    hands.queue.put(KEY_Q, False, "test")
    after, _ = hands.queue.sample()
    assert before[0].time <= instant < after[0].time
    assert after[0].time - instant == pytest.approx(TICK, rel=1e-3)
    # and still so when the instant has been through Unix time in float64, as in the file
    offset = 1_800_000_000.123
    stored = (instant + offset) - offset
    assert keys_from_events(before + after, [stored, 2.0]).tolist() == [KEY_Q, 0]


def test_keys_from_events_is_the_loop_frame_by_frame():
    random = np.random.default_rng(3)
    hands, frames, events, samples, down = Hands(), [], [], [], 0
    for frame in range(400):
        for time in np.sort(random.uniform(frame / 30, (frame + 1) / 30, random.integers(0, 5))):
            hands.at(time, int(random.choice([1, 2, 4, 8])), bool(random.integers(2)))
        hands.time = (frame + 1) / 30
        new, instant = hands.queue.sample()
        down, keys = apply_events(down, new)
        events += new
        samples.append(instant)
        frames.append(keys)
    assert len(events) > 300 and len(set(frames)) == 16
    assert keys_from_events(events, samples).tolist() == frames


def test_keys_from_events_refuses_stamps_out_of_order():
    with pytest.raises(ValueError, match="ascend"):
        keys_from_events([], [1.0, 0.5])
    with pytest.raises(ValueError, match="ascend"):
        keys_from_events([KeyEvent(1.0, 1, True, "x"), KeyEvent(0.5, 1, False, "x")], [2.0])


def test_reconcile_leads_from_what_was_recorded_to_what_is_down():
    events = reconcile(KEY_Q | KEY_O, KEY_O | KEY_P, 7.0)
    assert [(e.time, e.key, e.pressed, e.source) for e in events] == [
        (7.0, KEY_Q, False, "resume"),
        (7.0, KEY_P, True, "resume"),
    ]
    assert apply_events(KEY_Q | KEY_O, events)[0] == KEY_O | KEY_P


def test_window_keys_takes_the_four_keys_and_leaves_the_rest():
    hands = Hands()
    source = WindowKeys(hands.queue)
    for key in (pygame.K_q, pygame.K_a, pygame.K_SPACE, pygame.K_LEFT, pygame.K_p):
        source.handle(pygame.event.Event(pygame.KEYDOWN, key=key))
    source.handle(pygame.event.Event(pygame.MOUSEMOTION, pos=(0, 0), rel=(0, 0), buttons=(0, 0, 0)))
    source.handle(pygame.event.Event(pygame.KEYUP, key=pygame.K_q))
    events, _ = hands.queue.sample()
    assert [(e.key, e.pressed, e.source) for e in events] == [
        (KEY_Q, True, "window"),
        (KEY_P, True, "window"),
        (KEY_Q, False, "window"),
    ]


def fake_pynput(monkeypatch, trusted=True, dies=False):
    """A pynput whose hook is in the test's hands."""
    made = []

    class Listener:
        IS_TRUSTED = trusted

        def __init__(self, on_press, on_release):
            self.on_press, self.on_release, self.running = on_press, on_release, False
            made.append(self)

        def start(self):
            self.running = not dies

        def wait(self):
            pass

        def is_alive(self):
            return self.running

        def stop(self):
            self.running = False

    package = types.ModuleType("pynput")
    vars(package)["keyboard"] = types.SimpleNamespace(Listener=Listener)
    monkeypatch.setitem(sys.modules, "pynput", package)
    return made


def test_pynput_keys_follow_the_character_through_shift_and_filter_repeat(monkeypatch):
    made = fake_pynput(monkeypatch)
    hands = Hands()
    source = PynputKeys(hands.queue)
    source.start()
    char = lambda c: types.SimpleNamespace(char=c)  # noqa: E731
    hook = made[0]
    for _ in range(3):
        hook.on_press(char("P"))  # shift is down
    hook.on_press(types.SimpleNamespace(name="shift"))  # special keys have no char
    hook.on_press(char(None))
    hook.on_press(char("x"))
    hook.on_release(char("p"))  # shift was let go first
    assert [(e.key, e.pressed, e.source) for e in hands.queue.sample()[0]] == [
        (KEY_P, True, "pynput"),
        (KEY_P, False, "pynput"),
    ]
    assert source.alive()
    hook.running = False
    assert not source.alive()


def test_auto_prefers_pynput_and_falls_back_with_one_line(monkeypatch):
    fake_pynput(monkeypatch)
    source, note = open_key_source("auto", Hands().queue, {}, "linux")
    assert (source.name, note) == ("pynput", None)

    for environ in ({"WAYLAND_DISPLAY": "wayland-0"}, {"XDG_SESSION_TYPE": "wayland"}):
        source, note = open_key_source("auto", Hands().queue, environ, "linux")
        assert source.name == "window" and note is not None and "Wayland" in note and "\n" not in note
        assert pynput_obstacle(environ, "darwin") is None

    fake_pynput(monkeypatch, trusted=False)
    source, note = open_key_source("auto", Hands().queue, {}, "darwin")
    assert source.name == "window" and note is not None and "Privacy & Security" in note and "\n" not in note

    fake_pynput(monkeypatch, dies=True)
    source, note = open_key_source("auto", Hands().queue, {}, "linux")
    assert source.name == "window" and note is not None and "did not start" in note

    monkeypatch.setitem(sys.modules, "pynput", None)  # import fails
    source, note = open_key_source("auto", Hands().queue, {}, "linux")
    assert source.name == "window" and note.endswith(
        "pynput is not installed: `pip install --no-deps pynput python-xlib six`"
    )


def test_the_x11_hook_needs_no_evdev():
    """Evdev is C source; qwop-stride has its users install pynput without it."""
    if not sys.platform.startswith("linux") or not importlib.util.find_spec("pynput"):
        pytest.skip("no Linux, or pynput is not installed")
    # Without a display the import fails, too, but on the display.
    # From 3.13 on a traceback also shows the code, so the module's name is not in it.
    code = "import sys; sys.modules[sys.argv[1]] = None; import pynput.keyboard"
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    result = subprocess.run(
        [sys.executable, "-c", code, "evdev"],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert "failed to acquire X connection" in result.stderr and "evdev" not in result.stderr


def test_window_by_name_never_touches_pynput(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynput", None)
    assert open_key_source("window", Hands().queue, {}, "linux")[1] is None


def test_pynput_by_name_is_an_error_where_it_cannot_work():
    with pytest.raises(RecorderError, match="--keys window"):
        open_key_source("pynput", Hands().queue, {"WAYLAND_DISPLAY": "wayland-0"}, "linux")


def test_pynput_is_imported_only_when_it_is_asked_for():
    code = "import sys, qwop_recorder.key_sources, qwop_recorder.cli; sys.exit('pynput' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_keys_are_the_masks_of_the_game():
    assert KEYS == {"q": KEY_Q, "w": KEY_W, "o": KEY_O, "p": KEY_P}
