"""`qwop-game`: install the real game's file, check it, and compare both games.

Exit codes: 0: done. 1: `doctor` found something missing, or `parity` found a difference. 2: bad input, or a
game that can't be started, after one line.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from qwop_cli import check_outputs, parse_config, run_command
from qwop_game.real.errors import RealGameError
from qwop_game.real.find import find_browser, find_driver, find_pair
from qwop_game.real.install import DIRECTORY_VARIABLE, game_directory, install, installed, qwop_gym_game
from qwop_game.real.parity import SEED
from qwop_game.simulator import DEFAULT_TRIG, TRIG_VARIANTS, Trig

PROGRAM = "qwop-game"
DOCTOR_FRAMES = 60


_ONE_TRIG = tyro.conf.create_mutex_group(required=False)


@dataclass(frozen=True)
class Install:
    """Install the game's file for the other commands."""

    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None
    """Copy of the file; without it, the command downloads it from its author's site."""


@dataclass(frozen=True)
class Doctor:
    """Show what is installed, what is missing, and how to fix it."""

    browser: str | None = None
    """Path of Chrome, Chromium or Firefox."""
    driver: str | None = None
    """Path of its chromedriver or geckodriver."""


@dataclass(frozen=True)
class ParityConfig:
    """Play both games and compare every number of every frame."""

    episodes: int = 20
    """Number of episodes with random keys."""
    keys: Path | None = None
    """Recorded keys to play too: an .npz file with a uint8 array of key masks for each episode."""
    seed: int = SEED
    """Seed of the random keys."""
    trig: Annotated[Trig, _ONE_TRIG] = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    native: Annotated[tyro.conf.FlagCreatePairsOff[bool], _ONE_TRIG] = False
    """Play the real game with the browser's own sine and cosine, not with exact ones of --trig."""
    browser: str | None = None
    """Path of Chrome, Chromium or Firefox."""
    driver: str | None = None
    """Path of its chromedriver or geckodriver."""

    def __post_init__(self) -> None:
        if self.episodes < 0:
            raise RealGameError(f"--episodes {self.episodes}: expected 0 or more")


Command = Install | Doctor | Annotated[ParityConfig, tyro.conf.subcommand("parity")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(PROGRAM, lambda: _command(arguments), RealGameError, ImportError)


def _command(arguments: Sequence[str] | None) -> int:
    description = "Install the file of the real game, check it, compare the games."
    options: Install | Doctor | ParityConfig = parse_config(
        PROGRAM, Command, arguments, description=description
    )
    if isinstance(options, Install):
        return _install(options)
    return _doctor(options) if isinstance(options, Doctor) else _parity(options)


def _install(options: Install) -> int:
    check_outputs({}, {DIRECTORY_VARIABLE: game_directory()})
    found = install(options.file)
    print(f"game      installed in {found.path} ({found.patched_by}), SHA-256 {found.sha256}")
    return 0


def _doctor(options: Doctor) -> int:
    """Print one line per item. Returns 1 if something is missing."""
    well = True

    def item(name: str, good: bool, line: str) -> None:
        nonlocal well
        well = well and good
        print(f"{'ok     ' if good else 'MISSING'}  {name:<9} {line}", flush=True)

    try:
        qwop_gym_game()
        item("qwop-gym", True, metadata.version("qwop-gym"))
    except RealGameError as error:
        item("qwop-gym", False, str(error))
    try:
        found = installed()
        item("game", True, f"{found.path}, SHA-256 {found.sha256[:16]}..., from {found.source}")
    except RealGameError as error:
        item("game", False, str(error))
    native = None
    try:
        browser, driver = find_pair(options.browser, options.driver)
    except RealGameError as error:
        for name, problem in _missing_programs(options) or [("versions", str(error))]:
            item(name, False, problem)
    else:
        item("browser", True, f"{browser.path}, version {browser.version or 'unknown'}")
        item("driver", True, f"{driver.path}, version {driver.version or 'unknown'}, matches")
        try:
            version, native = _native_trig(options)
            item("trig", True, f"{version} {_consequence(native)}")
        except (RealGameError, ImportError) as error:
            item("trig", False, str(error))
    if not well:
        print(f"         play      not tried; the game's files go to {game_directory()}")
        return 1
    for name, trig in (("play", DEFAULT_TRIG), ("native", None)):
        if trig is None and native not in TRIG_VARIANTS:
            break
        try:
            item(name, True, _plays(options, trig))
        except (RealGameError, ImportError) as error:
            item(name, False, str(error))
    return 0 if well else 1


def _missing_programs(options: Doctor) -> list[tuple[str, str]]:
    """Return which of browser and driver was not found, each with a line about it."""
    family = "chrome"
    missing: list[tuple[str, str]] = []
    try:
        family = find_browser(options.browser).family
    except RealGameError as error:
        missing.append(("browser", str(error)))
    try:
        find_driver(options.driver, family)
    except RealGameError as error:
        missing.append(("driver", str(error)))
    return missing


def _native_trig(options: Doctor) -> tuple[str, str | None]:
    """Return the browser's name and version, and the variant of its own sine and cosine. Needs no game."""
    from qwop_game.real.browser import Browser

    browser = Browser(True, options.browser, options.driver, game=False)
    try:
        return browser.version, browser.native_trig
    finally:
        browser.close()


def _consequence(native: str | None) -> str:
    """Explain what a browser's own variant means for its user."""
    if native not in TRIG_VARIANTS:
        return (
            f"its sine and cosine equal no variant of the embedded game ({native or 'unknown'}): omit "
            f"--native to replace them by {DEFAULT_TRIG}"
        )
    if native == DEFAULT_TRIG:
        return f"computes sine and cosine as {native}: it plays the canonical game with --native, too"
    return f"computes sine and cosine as {native}: without --native they are replaced by {DEFAULT_TRIG}"


def _plays(options: Doctor, trig: str | None) -> str:
    """Play two seconds in both games and compare. Raises RealGameError if that fails."""
    from qwop_game.real.game import RealGame
    from qwop_game.real.parity import compare, drawn_keys

    begun = time.monotonic()
    game = RealGame(browser=options.browser, driver=options.driver, trig=trig)
    try:
        result = compare(game, [drawn_keys(17, frames=DOCTOR_FRAMES)])
        how = f"{game.trig}, {game.trig_source}"
    finally:
        game.close()
    if result.differing:
        raise RealGameError(f"the games differ: {result.first}")
    seconds = time.monotonic() - begun
    return f"{result.frames} frames equal to the embedded game's ({how}), {seconds:.1f} s with the start"


def _parity(options: ParityConfig) -> int:
    from tqdm import tqdm

    from qwop_game.real.game import RealGame
    from qwop_game.real.parity import Parity, compare, drawn_keys

    recorded = [] if options.keys is None else _recorded_keys(options.keys)

    def runs() -> Iterator[NDArray[np.uint8]]:
        for episode in range(options.episodes):
            yield drawn_keys(episode, options.seed)
        yield from recorded

    begun = time.monotonic()
    trig = None if options.native else options.trig
    game = RealGame(browser=options.browser, driver=options.driver, trig=trig)
    with tqdm(total=options.episodes + len(recorded), unit="episode", disable=None) as bar:

        def progress(total: Parity) -> None:
            bar.set_postfix_str(f"{total.differing} of {total.values} values differ")
            bar.update()

        try:
            result = compare(game, runs(), progress)
            trig, provenance = game.trig, game.provenance()
        finally:
            game.close()
    seconds = time.monotonic() - begun
    print(
        f"{result.episodes} episodes, {result.finished} of them over 100 m, {result.frames} frames; "
        f"{result.differing} of {result.values} doubles differ, and {result.observations_differing} of the "
        f"observations' float32; {seconds:.0f} s"
    )
    print(
        f"{provenance['browser']}, sine and cosine {trig} ({provenance['trig_source']}), game's file SHA-256 "
        f"{provenance['game_sha256']}"
    )
    if result.first:
        print(f"first difference: {result.first}")
    return 1 if result.differing else 0


def _recorded_keys(path: Path) -> list[NDArray[np.uint8]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
    except (OSError, ValueError) as error:
        raise RealGameError(f"{path}: {error}") from None
    keys = [array for array in arrays if array.dtype == np.uint8 and array.ndim == 1]
    if not keys or len(keys) < len(arrays):
        raise RealGameError(f"{path}: expected nothing but one uint8 array of key masks for each run")
    return keys


if __name__ == "__main__":
    sys.exit(main())
