"""`qwop-record`: a person plays the game in a window, and every run that is kept enters an HDF5 file."""

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import tyro

# pygame greets on standard output, and one of its imports warns about a package of its own.
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)

from qwop_cli import parse_config, run_command, stop_signals  # noqa: E402
from qwop_datasets import name_problem  # noqa: E402
from qwop_game import DEFAULT_TRIG, Simulator, Trig  # noqa: E402
from qwop_recorder.errors import RecorderError  # noqa: E402
from qwop_recorder.key_events import KeyQueue  # noqa: E402
from qwop_recorder.key_sources import WindowKeys, open_key_source  # noqa: E402
from qwop_recorder.loop import Clock, SystemClock, run_loop  # noqa: E402
from qwop_recorder.session import Command, PersonalBest, Phase, Session, SessionOptions  # noqa: E402
from qwop_recorder.storage import EpisodeStore, personal_best, recover, unsaved  # noqa: E402
from qwop_recorder.window import Window  # noqa: E402

PROGRAM = "qwop-record"


@dataclass(frozen=True)
class RecordConfig:
    """Play QWOP in a window and record it, 30 frames a second.

    Keys: Q W O P run. SPACE starts, pauses, goes on; after a run it keeps the run and starts the next.
    BACKSPACE throws the last finished run away. R starts this run over. LEFT steps back some seconds, RIGHT
    forward again, and SPACE takes over from there. ESC pauses, then finishes the session.

    Each frame goes to FILE.journal as it is played, so that a crash loses nothing; a run enters FILE when the
    next one is kept or the session ends.
    """

    file: Annotated[Path, tyro.conf.Positional] = Path("runs.h5")
    """The dataset to record into. An existing one is appended to."""
    player: str = ""
    """Your name, stored with each run."""
    episodes: int | None = None
    """Finish once this many runs are kept."""
    min_distance: float | None = None
    """Keep no run that is shorter, in meters."""
    max_knee_share: float | None = None
    """Keep no run with a knee within 0.12 m of the track for a larger share of its frames, 0 to 1."""
    auto_restart: bool = False
    """After a fall, keep the run and start the next by itself."""
    practice: bool = False
    """Record nothing."""
    game: Literal["embedded", "real"] = "embedded"
    """Where to play: the embedded game, or the real one in a browser (see qwop-game doctor)."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    native: bool = False
    """Play the real game with the browser's own sine and cosine, not with exact ones of --trig."""
    browser: str | None = None
    """Path of the browser for the real game, where it is not found."""
    driver: str | None = None
    """Path of its chromedriver or geckodriver, where it is not found."""
    headless: bool = False
    """Run the real game without a window, for programs that type."""
    keys: Literal["auto", "pynput", "window"] = "auto"
    """Where the keys come from: pynput stamps them exactly; the window's own events need no permission;
    auto: the first that works. The real game's keys come from its page, always."""
    countdown: float = 3.0
    """Seconds before the first run; later ones wait a second at most."""
    rewind: float = 2.0
    """Seconds of one step back."""
    recover: Literal["ask", "yes", "no"] = "ask"
    """What to do with runs that a crash left in the journal: with no terminal to ask at, "ask" means yes."""

    def __post_init__(self) -> None:
        def require(fact: bool, message: str) -> None:
            if not fact:
                raise RecorderError(message)

        require(
            self.episodes is None or self.episodes >= 1, f"--episodes {self.episodes}: at least 1 is needed"
        )
        share = self.max_knee_share
        require(share is None or 0 <= share <= 1, f"--max-knee-share {share}: a share is between 0 and 1")
        require(0 <= self.countdown <= 60, f"--countdown {self.countdown}: 0 to 60 seconds are possible")
        require(0 < self.rewind <= 60, f"--rewind {self.rewind}: more than 0, up to 60 seconds are possible")
        require(
            self.game == "embedded" or self.keys == "auto",
            f"--keys {self.keys}: the real game's keys come from its own page; leave --keys out",
        )
        require(self.game == "real" or not self.headless, "--headless: only with --game real")
        require(self.game == "real" or not self.native, "--native goes with --game real")
        problem = name_problem(self.player)
        require(problem is None, f"--player: {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(PROGRAM, lambda: record(parse_config(PROGRAM, RecordConfig, arguments)), RecorderError)


def record(config: RecordConfig, clock: Clock | None = None) -> int:
    """One session. Returns the exit code; raises RecorderError with the line to print."""
    clock = clock or SystemClock()
    if not config.practice:
        _offer_recovery(config)
    best = personal_best(config.file, config.player)
    session = (_record_real if config.game == "real" else _record_embedded)(config, clock, best)
    print(_summary(session, config))
    if session.unsaved:
        raise RecorderError(
            f"{len(session.unsaved)} run(s) are not in {config.file} yet ({session.problem}): they wait in "
            f"{config.file}.journal; make room and start again, or run qwop-data recover {config.file}"
        )
    return 0


def _record_embedded(config: RecordConfig, clock: Clock, best: PersonalBest) -> Session:
    """A session in a window of ours."""
    window = Window("QWOP practice" if config.practice else f"QWOP: {config.file.name}")
    store = None
    try:
        try:
            game = Simulator(1, trig=config.trig)
        except ImportError as error:
            raise RecorderError(str(error)) from None
        if not config.practice:
            passport = {
                "engine": game.engine,
                "trig_source": "engine",
                "package": _package(),
                "frame_skip": 1,
            }
            offset = clock.wall() - clock.now()
            store = EpisodeStore(config.file, config.player, offset, passport, trig=game.trig)
        session = Session(game, store, _options(config), best)
        _play(session, window, clock, config.keys)
    finally:
        window.close()
        if store is not None:
            store.close()
    return session


def _record_real(config: RecordConfig, clock: Clock, best: PersonalBest) -> Session:
    """A session in the real game's page."""
    from qwop_recorder.real_game import (  # selenium is loaded for those who use it
        PlayedGame,
        RealGameError,
        play,
    )

    store = None
    trig = None if config.native else config.trig
    game = PlayedGame(config.headless, config.browser, config.driver, clock, trig)
    try:
        if not config.practice:
            passport = {"package": _package(), **game.passport()}
            offset = clock.wall() - clock.now()
            store = EpisodeStore(config.file, config.player, offset, passport, "real", game.trig)
        session = Session(game, store, _options(config), best)
        with _signals_noted() as signals:
            play(session, game, clock, signals, lambda line: print(line, flush=True))
    except RealGameError as error:
        raise RecorderError(str(error)) from None
    finally:
        game.close()
        if store is not None:
            store.close()
    return session


def _options(config: RecordConfig) -> SessionOptions:
    return SessionOptions(
        config.episodes,
        config.min_distance,
        config.max_knee_share,
        config.auto_restart,
        config.countdown,
        config.rewind,
    )


def _play(session: Session, window: Window, clock: Clock, keys: str) -> None:
    """Run the loop until the session is done."""
    # The hook's thread stamps keys as soon as it gets the interpreter: 1 ms at most, not Python's 5.
    sys.setswitchinterval(0.001)
    queue = KeyQueue(clock.now)
    source, note = open_key_source(keys, queue)
    if note:
        print(note, file=sys.stderr, flush=True)
    printed = 0

    def poll() -> None:
        nonlocal source
        if not source.alive():
            print(
                "the keyboard hook has stopped: keys come from the game window", file=sys.stderr, flush=True
            )
            source = WindowKeys(queue)
        for command in window.poll(source, queue):
            session.command(command, clock.now())
        if signals:
            session.command(Command.CLOSE, clock.now())

    def tick(due: float) -> bool:
        nonlocal printed
        events, now = queue.sample()
        session.tick(events, now, now - due)
        window.draw(session)
        session.drawn(clock.now())
        for line in session.log[printed:]:
            print(line, flush=True)
        printed = len(session.log)
        return session.phase is not Phase.DONE

    with _signals_noted() as signals:
        try:
            run_loop(clock, poll, tick)
        finally:
            source.stop()


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Meanwhile Ctrl-C and its like interrupt nothing: their numbers go into the list, for the loop."""
    noted: list[int] = []
    before = {}
    for number in stop_signals():
        before[number] = signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _offer_recovery(config: RecordConfig) -> None:
    """Take in what an earlier session left, if the person wants it."""
    runs = unsaved(config.file)
    if runs is None:
        return
    answer = config.recover if runs else "yes"
    if answer == "ask":
        answer = "yes"
        if sys.stdin is not None and sys.stdin.isatty():
            reply = input(
                f"{config.file}: {runs} run(s) of an earlier session are unsaved. Recover them? [Y/n] "
            )
            answer = "no" if reply.strip().lower().startswith("n") else "yes"
    if answer == "no":
        raise RecorderError(
            f"{config.file}: {runs} run(s) of an earlier session wait in {config.file}.journal: recover them "
            f"(qwop-data recover {config.file}), or record into another file"
        )
    found = recover(config.file)
    if found.episodes:
        frames = sum(episode.num_frames for episode in found.episodes)
        print(f"{config.file}: recovered {len(found.episodes)} run(s), {frames} frames", flush=True)
    if found.damaged_bytes:
        print(f"{found.damaged_copy}: {found.damaged_bytes} damaged bytes were set aside", flush=True)


def _package() -> str:
    """This package's name and version."""
    try:
        return f"qwop-stride {metadata.version('qwop-stride')}"
    except metadata.PackageNotFoundError:
        return "qwop-stride not installed"


def _summary(session: Session, config: RecordConfig) -> str:
    """What the session ends with."""
    runs = session.attempts - (session.run.frames == 0)
    best = session.best
    lines = [session.timing.report().text()]
    if config.practice:
        lines.append(f"{runs} runs, practice: nothing was recorded")
    else:
        kept = session.kept - len(session.unsaved)
        lines.append(f"{runs} runs played, {kept} kept in {config.file}")
    if best.time is not None:
        lines.append(f"best: 100 m in {best.time:.2f} s")
    elif best.distance is not None:
        lines.append(f"best: {best.distance:.1f} m")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
