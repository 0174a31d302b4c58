"""Record runs: one session, from the settings to the file."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from qwop_cli import stop_signals
from qwop_game import Simulator
from qwop_recorder import embedded_game
from qwop_recorder.config import RecordConfig
from qwop_recorder.errors import RecorderError
from qwop_recorder.ghost import load_ghost
from qwop_recorder.loop import Clock, SystemClock, TimingReport
from qwop_recorder.personal_best import PersonalBest, personal_best
from qwop_recorder.recovery import recover, unsaved_runs
from qwop_recorder.session import Session, SessionOptions
from qwop_recorder.storage import EpisodeStore
from qwop_recorder.window import Window

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RecordResult:
    """The result of a session."""

    file: Path | None
    """The dataset; None after practice."""
    runs: int
    """Runs that were played."""
    kept: int
    """Runs that are in the file."""
    unsaved: int
    """Kept runs that the disk refused. They are in the journal."""
    problem: str | None
    """Why the disk refused these runs."""
    best: PersonalBest
    """The player's best, including earlier sessions in the file."""
    timing: TimingReport | None
    """None for a group: each page keeps time for itself."""

    def text(self) -> str:
        """Format the result as `qwop-record` prints it."""
        lines = [self.timing.text()] if self.timing else []
        if self.file is None:
            lines.append(f"{self.runs} runs, practice: nothing was recorded")
        else:
            lines.append(f"{self.runs} runs played, {self.kept} kept in {self.file}")
        if self.best.time is not None:
            lines.append(f"best: 100 m in {self.best.time:.2f} s")
        elif self.best.distance is not None:
            lines.append(f"best: {self.best.distance:.1f} m")
        return "\n".join(lines)


def record(
    config: RecordConfig,
    *,
    tell: Tell = lambda line: None,
    warn: Tell = lambda line: None,
    confirm: Callable[[str], bool] = lambda question: True,
    clock: Clock | None = None,
) -> RecordResult:
    """Let a person play one session, and record it.

    Args:
        config: The settings.
        tell: Called with a line about each run that is stored in the file, or recovered.
        warn: Called with a line if the keys do not come from the preferred source.
        confirm: Asked whether to recover the runs of an earlier session, if `config.recover` is "ask".
        clock: The session's clock, for tests.

    Raises:
        RecorderError: There is no display, the file or the ghost's is not a dataset, runs of an earlier
            session are not recovered, or the browser was lost.
    """
    clock = clock or SystemClock()
    if not config.practice:
        _recover(config, tell, confirm)
    best = personal_best(config.file, config.player)
    if config.players:
        return _record_players(config, tell)
    if config.web:
        return _record_web(config, clock, best, tell)
    if config.game == "real":
        session = _record_real(config, clock, best, tell)
    else:
        session = _record_embedded(config, clock, best, tell, warn)
    return RecordResult(
        file=None if config.practice else config.file,
        runs=session.attempts - (session.run.num_frames == 0),
        kept=session.kept - len(session.unsaved),
        unsaved=len(session.unsaved),
        problem=session.problem,
        best=session.best,
        timing=session.timing.report(),
    )


def _record_embedded(
    config: RecordConfig, clock: Clock, best: PersonalBest, tell: Tell, warn: Tell
) -> Session:
    ghost = None if config.ghost is None else load_ghost(config.ghost, config.file)
    window = Window("QWOP practice" if config.practice else f"QWOP: {config.file.name}", ghost)
    store = None
    try:
        try:
            game = Simulator(1, trig=config.trig)
        except ImportError as error:
            raise RecorderError(str(error)) from None
        if not config.practice:
            provenance = {
                "engine": game.engine,
                "trig_source": "engine",
                "package": _package(),
                "frame_skip": 1,
            }
            offset = clock.wall() - clock.now()
            store = EpisodeStore(config.file, config.player, offset, provenance, trig=game.trig)
        session = Session(game, store, _options(config), best)
        with _noted_signals() as signals:
            embedded_game.play(session, window, clock, config.keys, signals, tell, warn)
    finally:
        window.close()
        if store is not None:
            store.close()
    return session


def _record_web(config: RecordConfig, clock: Clock, best: PersonalBest, tell: Tell) -> RecordResult:
    # Imported here, because it imports aiohttp.
    from qwop_recorder.web import play_in_page

    store = None
    try:
        if not config.practice:
            offset = clock.wall() - clock.now()
            store = EpisodeStore(config.file, config.player, offset, _web_provenance(), trig=config.trig)
        page = play_in_page(config, store, best, tell)
    finally:
        if store is not None:
            store.close()
    keeper = page.runs.keeper
    return RecordResult(
        file=None if config.practice else config.file,
        runs=page.attempts,
        kept=keeper.kept - len(keeper.unsaved),
        unsaved=len(keeper.unsaved),
        problem=keeper.problem,
        best=best,
        timing=page.timing.report(),
    )


def _record_players(config: RecordConfig, tell: Tell) -> RecordResult:
    # Imported here, because it imports aiohttp.
    from qwop_recorder.web_group import play_with_players

    server = play_with_players(config, _web_provenance(), tell)
    return RecordResult(
        file=config.file,
        runs=server.attempts,
        kept=server.kept,
        unsaved=len(server.filer),
        problem=server.filer.problem,
        best=server.table.overall,
        timing=None,
    )


def _web_provenance() -> dict[str, str | int | float | bool]:
    return {"trig_source": "engine", "package": _package(), "frame_skip": 1, "recorded_with": "web"}


def _record_real(config: RecordConfig, clock: Clock, best: PersonalBest, tell: Tell) -> Session:
    # Imported here, because it imports selenium.
    from qwop_recorder.real_game import PlayedGame, RealGameError, play

    store = None
    trig = None if config.native else config.trig
    game = PlayedGame(config.headless, config.browser, config.driver, clock, trig, config.keep_page)
    try:
        if not config.practice:
            provenance = {"package": _package(), **game.provenance()}
            offset = clock.wall() - clock.now()
            store = EpisodeStore(config.file, config.player, offset, provenance, "real", game.trig)
        session = Session(game, store, _options(config), best)
        with _noted_signals() as signals:
            play(session, game, clock, signals, tell)
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


def _recover(config: RecordConfig, tell: Tell, confirm: Callable[[str], bool]) -> None:
    """Recover the runs of an earlier session if the player agrees. Raises RecorderError if not."""
    file = config.file
    runs = unsaved_runs(file)
    if runs is None:
        return
    wanted = runs == 0 or config.recover == "yes"
    if not wanted and config.recover == "ask":
        wanted = confirm(f"{file}: {runs} run(s) of an earlier session are unsaved. Recover them?")
    if not wanted:
        raise RecorderError(
            f"{file}: {runs} run(s) of an earlier session are in {file}.journal: recover them "
            f"(qwop-data recover {file}), or record into another file"
        )
    found = recover(file)
    if found.episodes:
        frames = sum(episode.num_frames for episode in found.episodes)
        tell(f"{file}: recovered {len(found.episodes)} run(s), {frames} frames")
    if found.damaged_bytes:
        tell(f"{found.damaged_copy}: {found.damaged_bytes} damaged bytes were set aside")


@contextmanager
def _noted_signals() -> Generator[list[int]]:
    """Collect the numbers of Ctrl-C and similar signals during the block, instead of interrupting it."""
    noted: list[int] = []
    before: dict[signal.Signals, Any] = {}
    for number in stop_signals():
        before[number] = signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _package() -> str:
    """Return this package's name and version."""
    try:
        return f"qwop-stride {metadata.version('qwop-stride')}"
    except metadata.PackageNotFoundError:
        return "qwop-stride not installed"
