"""The session's states, with a game and a store that a test sees through."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from qwop_datasets import Frame, Rewind
from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W
from qwop_recorder.keeping import StoreError
from qwop_recorder.key_events import KeyEvent, keys_from_events
from qwop_recorder.personal_best import PersonalBest
from qwop_recorder.phases import Command, Phase
from qwop_recorder.session import AUTO_RESTART_SECONDS, TRANSITIONS, Session, SessionOptions

FALL = KEY_Q | KEY_W | KEY_O | KEY_P
FAST = SessionOptions(countdown=1 / 30)


class FakeGame:
    """Q runs 1 m forward a frame, all four keys fall. The state is a hash of all keys so far."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._put(np.array([0, 0, 7, 0], np.uint64))

    def step(self, keys: np.ndarray) -> None:
        assert keys.dtype == np.uint8 and keys.shape == (1,)
        mask = int(keys[0])
        frame, x, mixed, _ = (int(n) for n in self._state)
        x += 10 * bool(mask & KEY_Q)
        flags = 9 if mask == FALL else 12 if x >= 1000 else 0
        self._put(np.array([frame + 1, x, (mixed * 31 + mask) % 1_000_003, flags], np.uint64))

    def snapshot(self) -> np.ndarray:
        return self._state.view(np.uint8)[None].copy()

    def restore(self, snapshot: np.ndarray) -> None:
        self._put(snapshot[0].view(np.uint64).copy())

    def _put(self, state: np.ndarray) -> None:
        self._state = state
        self.raw_observation = np.zeros((1, 60), np.float32)
        self.raw_observation[0, 0], self.raw_observation[0, 1] = state[1], state[2]
        self.time = np.array([int(state[0]) / 30])
        self.distance = np.array([int(state[1]) / 10])
        self.flags = np.array([state[3]], np.uint8)
        self.state = np.zeros((1, 92))


class FakeStore:
    """Writes down what it is told; `full` makes it refuse."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.journal: list = []
        self.file: list = []
        self.full = False
        self.fields = {"source": "human"}

    def _do(self, name: str) -> None:
        self.calls.append(name)
        if self.full:
            raise StoreError("/disk: the disk is full")

    def begin(self, run) -> None:
        self._do("begin")

    def write(self, run, changes) -> None:
        for change in changes:
            if isinstance(change, Frame):
                self.journal.append(change.keys)
        rewinds = [f" {change.frame}" for change in changes if isinstance(change, Rewind)]
        self._do(" ".join(type(change).__name__.lower() for change in changes) + "".join(rewinds))

    def drop(self, run) -> None:
        self._do("drop")

    def commit(self, run) -> str:
        self._do("commit")
        self.file.append(run)
        return f"run of {run.num_frames} frames"

    def flush(self) -> None:
        self._do("flush")


class Player:
    """Drives a session: each character of `play` is one frame, "." none, "q", "w", "o", "p", "F" all four."""

    def __init__(self, options: SessionOptions = FAST, store: FakeStore | None = None, best=None) -> None:
        self.store = store
        self.session = Session(FakeGame(), store, options, best)
        self.now = 0.0
        self.down = 0

    def tick(self, keys: int | None = None, lateness: float = 0.0) -> None:
        self.now += 1 / 30
        events = []
        for key in (1, 2, 4, 8):
            if keys is not None and (keys ^ self.down) & key:
                events.append(KeyEvent(self.now - 0.01, key, bool(keys & key), "test"))
        self.down = self.down if keys is None else keys
        self.session.tick(events, self.now, lateness)

    def play(self, text: str) -> None:
        masks = {".": 0, "q": KEY_Q, "w": KEY_W, "o": KEY_O, "p": KEY_P, "F": FALL}
        for char in text:
            self.tick(masks[char])

    def wait(self, keys: int = 0) -> None:
        """Until play begins, with `keys` held."""
        for _ in range(200):
            if self.session.phase is Phase.PLAYING:
                return
            self.tick(keys)
        raise AssertionError(f"play never began, but {self.session.phase}")

    def do(self, *commands: Command) -> None:
        for command in commands:
            self.session.command(command, self.now)


def recorded(run) -> list[int]:
    """The run's keys, checked against its events, its game and its own lengths."""
    assert len(run.raw_observations) == len(run.times) == run.num_frames + 1
    assert len(run.wall_times) == len(run.lateness) == run.num_frames
    assert keys_from_events(run.key_events, run.wall_times).tolist() == run.keys
    game = FakeGame()
    assert run.raw_observations[0].tobytes() == game.raw_observation[0].tobytes()
    for keys, observation in zip(run.keys, run.raw_observations[1:], strict=True):
        game.step(np.array([keys], np.uint8))
        assert observation.tobytes() == game.raw_observation[0].tobytes()
    return run.keys


def test_the_countdown_lasts_as_long_as_asked_and_records_nothing():
    player = Player(SessionOptions(countdown=2.0), FakeStore())
    for i in range(59):
        player.tick(KEY_Q)
        assert player.session.phase is Phase.COUNTDOWN and player.session.run.num_frames == 0
        assert player.session.countdown_seconds == pytest.approx((59 - i) / 30)
    player.tick()
    assert player.session.phase is Phase.PLAYING and player.store.calls == ["begin"]


def test_keys_are_played_frame_by_frame_and_go_to_the_journal_as_they_are_played():
    player = Player(store=FakeStore())
    player.wait()
    player.play("qq.wop")
    keys = [1, 1, 0, 2, 4, 8]
    assert recorded(player.session.run) == keys == player.store.journal
    assert player.session.observation[0] == 20 and player.session.run.distance == 2.0


def test_keys_held_at_the_start_count_and_what_was_typed_before_does_not():
    player = Player(SessionOptions(countdown=3 / 30), FakeStore())
    player.tick(KEY_W)  # typed and let go before the start
    player.tick(KEY_O)
    player.tick(KEY_O)
    assert player.session.phase is Phase.PLAYING
    player.play("o.")
    run = player.session.run
    assert recorded(run) == [KEY_O, 0]
    assert [(e.key, e.pressed, e.source) for e in run.key_events] == [
        (KEY_O, True, "resume"),
        (KEY_O, False, "test"),
    ]


def test_a_run_is_kept_with_go_and_enters_the_file_when_the_next_one_is_kept():
    player = Player(store=FakeStore())
    for kept, text in enumerate(["qqF", "qqqqF", "qF"]):
        player.wait()
        player.play(text)
        assert player.session.phase is Phase.ENDED
        assert len(player.store.file) == max(0, kept - 1)  # the last one can still be discarded
        player.do(Command.GO)
        assert player.session.kept == kept + 1
    player.do(Command.FINISH)
    assert player.session.phase is Phase.DONE
    assert [run.distance for run in player.store.file] == [3.0, 5.0, 2.0]  # all four keys hold Q too
    assert all(run.terminated and not run.success for run in player.store.file)
    assert player.session.log == ["run of 3 frames", "run of 5 frames", "run of 2 frames"]
    assert player.session.unsaved == []


def test_discard_after_a_run_discards_that_run():
    player = Player(store=FakeStore())
    for command in (Command.DISCARD, Command.RESTART):
        player.wait()
        player.play("qF")
        player.do(command)
    player.wait()
    player.play("qqF")
    player.do(Command.GO, Command.FINISH)
    assert [run.distance for run in player.store.file] == [3.0]
    assert player.store.calls.count("drop") == 2 and player.session.attempts == 4


def test_discard_during_a_run_discards_the_previous_run_and_plays_on():
    player = Player(store=FakeStore())
    player.wait()
    player.play("qF")
    player.do(Command.GO)
    player.wait()
    player.play("qq")
    player.do(Command.DISCARD)
    assert player.session.kept == 0 and player.session.phase is Phase.PLAYING
    player.do(Command.DISCARD)  # there is none any more
    player.play("qF")
    player.do(Command.GO, Command.FINISH)
    assert [run.distance for run in player.store.file] == [4.0]


def test_restart_discards_the_run_and_starts_again():
    player = Player(store=FakeStore())
    player.wait()
    player.play("qqqw")
    player.do(Command.RESTART)
    assert player.session.run.num_frames == 0 and player.session.phase is Phase.COUNTDOWN
    player.wait()
    player.play("wF")
    player.do(Command.GO, Command.CLOSE)
    assert [recorded(run) for run in player.store.file] == [[2, 15]]


def test_a_pause_leaves_no_trace_in_the_run_but_the_keys_that_changed():
    player = Player(store=FakeStore())
    player.wait()
    player.play("qq")
    player.do(Command.GO)
    assert player.session.phase is Phase.PAUSED
    player.play("wwopp.p")  # typed in the pause
    player.do(Command.GO)
    player.wait(KEY_P)
    player.play("pq")
    run = player.session.run
    assert recorded(run) == [1, 1, 8, 1]
    assert [e.source for e in run.key_events] == [
        "test",
        "resume",
        "resume",
        "test",
        "test",
    ]  # +Q, -Q +P, -P +Q


@pytest.mark.parametrize("snapshot_frames", [1, 7, 30])
def test_rewind_and_take_over_is_one_exact_run(monkeypatch, snapshot_frames):
    monkeypatch.setattr("qwop_recorder.rewind.SNAPSHOT_FRAMES", snapshot_frames)
    player = Player(SessionOptions(countdown=1 / 30, rewind=0.5), FakeStore())
    player.wait()
    text = "".join(itertools.islice(itertools.cycle("qwoq.pp"), 50))
    player.play(text + "F")
    assert player.session.phase is Phase.ENDED
    before = list(player.session.run.keys)
    player.do(Command.BACK, Command.BACK)  # 2 x 15 frames
    assert player.session.phase is Phase.REWOUND and player.session.cursor == 21
    assert player.session.observation.tobytes() == player.session.run.raw_observations[21].tobytes()
    assert not any("rewind" in call for call in player.store.calls)  # only looked at so far
    player.do(Command.GO)
    player.wait()
    player.play("qqq")
    # and once more, from the middle of play
    player.do(Command.BACK, Command.GO)
    player.wait()
    player.play("wF")
    run = player.session.run
    keys = before[:21] + [1] * 3
    assert recorded(run) == [*keys[:9], 2, 15]
    assert [(start, end) for _, start, end in run.rewinds] == [(51, 21), (24, 9)]
    assert run.discarded_keys == before[21:] + keys[9:]
    assert [call for call in player.store.calls if "rewind" in call] == ["rewind 21", "rewind 9"]
    assert player.session.kept == 0 and run.terminated


def test_stepping_back_and_forward_again_changes_nothing():
    player = Player(SessionOptions(countdown=1 / 30, rewind=0.1), FakeStore())
    player.wait()
    player.play("qqqqqqqqF")
    keys = list(player.session.run.keys)
    player.do(Command.BACK, Command.BACK, Command.BACK, Command.BACK)
    assert player.session.cursor == 0
    player.do(Command.FORWARD, Command.FORWARD)
    assert player.session.cursor == 6 and player.session.shown_keys == KEY_Q
    player.do(Command.FORWARD)
    assert player.session.phase is Phase.ENDED
    player.do(Command.GO, Command.FINISH)
    assert recorded(player.store.file[0]) == keys and player.store.file[0].rewinds == []


def test_finish_while_stepped_back_keeps_the_whole_run():
    player = Player(SessionOptions(countdown=1 / 30, rewind=0.1), FakeStore())
    player.wait()
    player.play("qqqqqqqqF")
    player.do(Command.BACK, Command.FINISH)
    assert player.session.phase is Phase.DONE
    assert player.store.file[0].num_frames == 9 and player.store.file[0].terminated


@pytest.mark.parametrize("command", [Command.CLOSE, Command.FINISH])
def test_closing_in_mid_run_keeps_what_was_played_as_a_run_cut_short(command):
    player = Player(store=FakeStore())
    player.wait()
    player.play("qF")
    player.do(Command.GO)
    player.wait()
    player.play("qqq")
    player.do(command)
    if command is Command.FINISH:  # the first one pauses
        assert player.session.phase is Phase.PAUSED
        player.do(command)
    assert player.session.phase is Phase.DONE
    assert [(run.num_frames, run.terminated) for run in player.store.file] == [(2, True), (3, False)]


def test_closing_a_run_rewound_to_its_start_drops_it():
    player = Player(store=FakeStore())
    player.wait()
    player.play("qq")
    player.do(Command.BACK, Command.GO, Command.CLOSE)
    assert player.store.file == [] and player.store.calls[-2:] == ["rewind 0", "drop"]


def test_closing_before_the_first_frame_keeps_nothing():
    player = Player(store=FakeStore())
    player.do(Command.CLOSE)
    assert player.session.phase is Phase.DONE and player.store.file == []


def test_runs_under_min_distance_are_not_kept():
    player = Player(SessionOptions(countdown=1 / 30, min_distance=3.0), FakeStore())
    for text in ("qF", "qqF", "qqqF"):
        player.wait()
        player.play(text)
        assert ("--min-distance 3" in player.session.message) == (text == "qF")
        player.do(Command.GO)
    player.wait()
    player.play("q")
    player.do(Command.CLOSE)  # a run cut short is measured by the same rule
    assert [run.distance for run in player.store.file] == [3.0, 4.0]
    assert player.session.kept == 2 and player.store.calls.count("drop") == 2


def test_runs_over_max_knee_share_are_not_kept(monkeypatch):
    class Gait:
        def __init__(self, share):
            self.knee_near = share

    # the share is gait_metrics' business; here every frame further than 1 m counts as a knee near the track
    monkeypatch.setattr(
        "qwop_recorder.keeping.gait_metrics", lambda raw: Gait(float((raw[:, 0] > 10).mean()))
    )
    player = Player(SessionOptions(countdown=1 / 30, max_knee_share=0.4), FakeStore())
    player.wait()
    player.play("...qF")  # 1 of 6
    player.do(Command.GO)
    player.wait()
    player.play("qqF")  # 2 of 4
    assert "50.0%" in player.session.message and "--max-knee-share 0.4" in player.session.message
    player.do(Command.GO, Command.CLOSE)
    assert [run.num_frames for run in player.store.file] == [5]


def test_auto_restart_keeps_a_fallen_run_by_itself():
    player = Player(SessionOptions(countdown=1 / 30, auto_restart=True, min_distance=2.0), FakeStore())
    player.wait()
    player.play("qF")
    ticks = 0
    while player.session.phase is Phase.ENDED:
        player.tick(0)
        ticks += 1
    assert ticks == round(AUTO_RESTART_SECONDS * 30)
    assert player.session.kept == 1
    player.wait()
    player.play("F")  # too short: not kept, and on
    player.tick(0)
    player.wait()
    assert player.session.kept == 1 and player.session.attempts == 3
    player.do(Command.DISCARD)
    player.do(Command.CLOSE)
    assert player.store.file == []


def test_auto_restart_waits_after_a_step_back_and_after_a_finish():
    player = Player(SessionOptions(countdown=1 / 30, auto_restart=True, rewind=0.1), FakeStore())
    player.wait()
    player.play("qqqqF")
    player.do(Command.BACK, Command.FORWARD)
    assert player.session.phase is Phase.ENDED
    player.play("." * 100)
    assert player.session.phase is Phase.ENDED and player.session.kept == 0
    player.do(Command.GO)
    player.wait()
    player.play("q" * 100)
    assert player.session.run.success
    player.play("." * 100)
    assert player.session.phase is Phase.ENDED


def test_the_session_ends_with_the_last_episode_asked_for():
    player = Player(SessionOptions(countdown=1 / 30, episodes=2, auto_restart=True), FakeStore())
    player.wait()
    player.play("qF")
    player.play("." * 31)
    player.wait()
    player.play("qqF")
    assert player.session.enough
    player.play("." * 100)  # the last one is not stored yet: it may be discarded
    assert player.session.phase is Phase.ENDED
    player.do(Command.DISCARD)
    player.wait()
    player.play("qqqF")
    player.do(Command.GO)
    assert player.session.phase is Phase.DONE
    assert [run.distance for run in player.store.file] == [2.0, 4.0]


def test_a_run_out_of_bounds_is_over_as_it_is_for_a_replay():
    player = Player(store=FakeStore())
    player.session._game.step = lambda keys: player.session._game._put(np.array([1, 1051, 0, 0], np.uint64))
    player.wait()
    player.play("q")
    assert (
        player.session.phase is Phase.ENDED and player.session.run.terminated and player.session.run.success
    )


def test_personal_best_counts_distance_until_a_finish_and_time_from_then_on():
    best = PersonalBest(distance=2.5)
    player = Player(store=FakeStore(), best=best)
    for text, new in (("qF", False), ("qqF", True), ("q" * 101, True), ("." + "q" * 101, False)):
        player.wait()
        player.play(text[: 100 + text.count(".")])
        assert ("your best" in player.session.message) == new, text
        player.do(Command.GO)
    assert best.distance == 100.0 and best.time == pytest.approx(100 / 30)


def test_a_run_with_a_rewind_does_not_count_as_a_personal_best():
    player = Player(SessionOptions(countdown=1 / 30, rewind=0.1), FakeStore())
    player.wait()
    player.play("qqqq")
    player.do(Command.BACK, Command.GO)
    player.wait()
    player.play("qqqqqqF")
    assert player.session.best.distance is None


def test_practice_has_no_store_and_keeps_nothing():
    player = Player(SessionOptions(countdown=1 / 30, min_distance=50), None)
    player.wait()
    player.play("qqF")
    assert player.session.best.distance == 3.0 and "not kept" not in player.session.message
    player.do(Command.GO)
    player.wait()
    player.play("qq")
    player.do(Command.BACK, Command.GO)
    player.wait()
    player.do(Command.CLOSE)
    assert player.session.phase is Phase.DONE and player.session.kept == 0 and player.session.log == []


def test_losing_the_focus_pauses_and_getting_it_starts_only_a_run_that_has_not_begun():
    player = Player(store=FakeStore())
    player.do(Command.FOCUS_LOST)
    assert player.session.phase is Phase.PAUSED
    player.do(Command.FOCUS_GAINED)
    player.wait()
    player.play("qq")
    player.do(Command.FOCUS_LOST, Command.FOCUS_GAINED)
    player.play("..")
    assert player.session.phase is Phase.PAUSED and player.session.run.num_frames == 2


def test_a_full_disk_pauses_play_and_loses_nothing():
    player = Player(store=FakeStore())
    player.wait()
    player.play("q")
    player.store.full = True
    player.play("q")
    assert player.session.phase is Phase.PAUSED and "the disk is full" in player.session.message
    assert player.store.journal == [1, 1]  # the store was given the frame and holds it
    player.do(Command.GO)
    assert player.session.phase is Phase.PAUSED
    player.store.full = False
    player.do(Command.GO)
    player.wait()
    player.play("qF")
    player.do(Command.GO, Command.CLOSE)
    assert [recorded(run) for run in player.store.file] == [[1, 1, 1, 15]]
    assert player.session.problem is None


def test_runs_that_the_file_refuses_stay_and_are_tried_again():
    player = Player(store=FakeStore())
    for _ in range(2):
        player.wait()
        player.play("qF")
        player.store.full = player.session.kept == 1
        player.do(Command.GO)
    assert player.store.file == [] and len(player.session.unsaved) == 1
    player.store.full = False
    player.wait()
    player.play("qqF")
    player.do(Command.GO)
    assert [run.distance for run in player.store.file] == [2.0, 2.0]
    player.store.full = True
    player.do(Command.CLOSE)
    assert player.session.phase is Phase.DONE and [run.distance for run in player.session.unsaved] == [3.0]


def test_key_delay_is_measured_from_the_press_to_the_picture():
    player = Player()
    player.wait()
    player.play("q")
    player.session.drawn(player.now + 0.004)
    player.play("q")
    player.session.drawn(player.now + 0.004)  # no press in it
    report = player.session.timing.report()
    assert report.presses == 1 and report.delay_median == pytest.approx(14.0)


# ---- the table of commands -----------------------------------------------------------------------------

KEYS_OF_GUIDE = {
    "SPACE": Command.GO,
    "BACKSPACE": Command.DISCARD,
    "R": Command.RESTART,
    "LEFT": Command.BACK,
    "RIGHT": Command.FORWARD,
    "ESC": Command.FINISH,
}
PHASES_OF_GUIDE = {
    "countdown": Phase.COUNTDOWN,
    "while you run": Phase.PLAYING,
    "after a run": Phase.ENDED,
    "stepped back": Phase.REWOUND,
    "paused": Phase.PAUSED,
}
ACTIONS_OF_GUIDE = {
    "pause": Session._pause,
    "keep it, next run": Session._keep_and_play_next,
    "take over from here": Session._take_over,
    "continue": Session._go_on,
    "discard the previous run": Session._throw_previous_away,
    "discard it": Session._throw_away,
    "start over": Session._start_over,
    "step back": Session._step_back,
    "step forward": Session._step_forward,
    "finish": Session._finish,
}


def test_the_guide_shows_the_transitions():
    guide = Path(__file__).parents[2] / "docs" / "guides" / "recording.md"
    lines = [line for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    start = next(i for i, line in enumerate(lines) if line.startswith("| key |"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start : start + 7]]
    phases = [PHASES_OF_GUIDE[name] for name in rows[0][1:]]
    shown = {
        (phase, KEYS_OF_GUIDE[row[0]]): ACTIONS_OF_GUIDE[cell]
        for row in rows[1:]
        for phase, cell in zip(phases, row[1:], strict=True)
        if cell
    }
    by_key = {pair: action for pair, action in TRANSITIONS.items() if pair[1] in KEYS_OF_GUIDE.values()}
    assert shown == by_key
    assert {phase for phase, _ in TRANSITIONS} == set(phases)  # nothing leads out of DONE
    closing = {phase: action for (phase, command), action in TRANSITIONS.items() if command is Command.CLOSE}
    assert closing == dict.fromkeys(phases, Session._finish)
