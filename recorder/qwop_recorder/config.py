"""The settings of a recording session, which are the options of `qwop-record`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from qwop_datasets import name_problem
from qwop_game import DEFAULT_TRIG, Trig
from qwop_recorder.errors import RecorderError
from qwop_recorder.web_limits import Limits


@dataclass(frozen=True)
class RecordConfig:
    """Play QWOP in a window and record it at 30 frames per second.

    Keys: Q W O P run. SPACE starts, pauses, continues; after a run it keeps the run and starts the next.
    BACKSPACE discards the last finished run. R restarts this run. LEFT steps back some seconds, RIGHT
    forward again, and SPACE takes over from there. ESC pauses, then finishes the session.

    Each frame is in FILE.journal as soon as it is played, so a crash loses nothing. A run is stored in FILE
    when the next one is kept or the session ends.
    """

    file: Annotated[Path, tyro.conf.Positional] = Path("runs.h5")
    """Dataset to record into. Runs are appended to an existing one."""
    player: str = ""
    """Your name, stored with each run."""
    episodes: int | None = None
    """Finish once this many runs are kept."""
    min_distance: float | None = None
    """Do not keep shorter runs, in meters."""
    max_knee_share: float | None = None
    """Do not keep runs with a knee within 0.12 m of the track in a larger share of frames, 0 to 1."""
    auto_restart: bool = False
    """After a fall, keep the run and start the next one without a key."""
    practice: bool = False
    """Record nothing."""
    ghost: Annotated[str | None, tyro.conf.arg(metavar="FILE[:N]")] = None
    """Race in the window against episode N (0) of a dataset; :N is an episode of FILE. The recording does not
    depend on it."""
    web: bool = False
    """Play in the browser, in a page served from this machine, instead of a window."""
    port: int = 8017
    """Port of the page."""
    host: str = "127.0.0.1"
    """Address of the page. Only this machine can reach 127.0.0.1; from another one use an SSH tunnel."""
    players: int = 0
    """Record a group: invite so many players, each with a link of their own (with --web)."""
    license: str = "CC0-1.0"
    """License of the data that players have to agree to, an SPDX identifier (with --players)."""
    url: str = ""
    """Address of the page for players, such as https://qwop.example.org of a proxy (with --players)."""
    sites: tuple[str, ...] = ()
    """Other sites whose pages may send runs here, such as https://example.org (with --players)."""
    limits: Limits = field(default_factory=Limits)
    """What players may ask of the server (with --players)."""
    no_open: bool = False
    """Print the page's address, but do not open a browser."""
    game: Literal["embedded", "real"] = "embedded"
    """Where to play: the embedded game, or the real one in a browser (see qwop-game doctor)."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    native: bool = False
    """Play the real game with the browser's own sine and cosine, not with exact ones of --trig."""
    keep_page: bool = False
    """Begin the next run of the real game by its own reset, as its R key does, without loading the page
    again. Each run is stored with what happened in the page before it."""
    browser: str | None = None
    """Path of the browser for the real game, if it is not found."""
    driver: str | None = None
    """Path of its chromedriver or geckodriver, if it is not found."""
    headless: bool = False
    """Run the real game without a window, for programs that press keys."""
    keys: Literal["auto", "pynput", "window"] = "auto"
    """Source of the keys. pynput: exact time stamps. window: the window's own events, which need no
    permission.
    auto: pynput if it works, else window. The real game's keys always come from its page."""
    countdown: float = 3.0
    """Seconds before the first run; later countdowns take a second at most."""
    rewind: float = 2.0
    """Seconds of one step back."""
    recover: Literal["ask", "yes", "no"] = "ask"
    """What to do with runs that a crash left in the journal. Without a terminal, "ask" means yes."""

    def __post_init__(self) -> None:
        def require(fact: bool, message: str) -> None:
            if not fact:
                raise RecorderError(message)

        require(
            self.episodes is None or self.episodes >= 1, f"--episodes {self.episodes}: expected 1 or more"
        )
        share = self.max_knee_share
        require(share is None or 0 <= share <= 1, f"--max-knee-share {share}: expected a share from 0 to 1")
        require(0 <= self.countdown <= 60, f"--countdown {self.countdown}: expected 0 to 60 seconds")
        require(0 < self.rewind <= 60, f"--rewind {self.rewind}: expected more than 0 and up to 60 seconds")
        require(
            self.game == "embedded" or self.keys == "auto",
            f"--keys {self.keys}: the keys of the real game come from its page; omit --keys",
        )
        require(self.game == "real" or not self.headless, "--headless needs --game real")
        require(self.game == "real" or not self.native, "--native needs --game real")
        require(self.game == "real" or not self.keep_page, "--keep-page needs --game real")
        require(not self.web or self.game == "embedded", "--web plays the embedded game: omit --game real")
        require(
            not self.web or self.keys == "auto",
            f"--keys {self.keys}: the page reads the keys itself; omit it",
        )
        require(
            self.ghost is None or (self.game == "embedded" and not self.web),
            "--ghost is drawn in the recorder's own window: omit "
            + ("--web, whose page has ghosts to choose from" if self.web else "--game real"),
        )
        require(0 <= self.port <= 65535, f"--port {self.port}: expected a port from 0 to 65535")
        require(0 <= self.players <= 10_000, f"--players {self.players}: give 1 to 10000")
        for flag, given in (("url", self.url), ("sites", self.sites)):
            require(not given or self.players > 0, f"--{flag}: use it with --players")
        for flag, address in [("url", self.url), *(("sites", site) for site in self.sites)]:
            fine = not address or re.fullmatch(r"https?://[^/\s?#@]+", address)
            require(bool(fine), f"--{flag} {address}: give scheme and host, such as https://example.org")
        require(not self.players or self.web, "--players: use it with --web")
        require(not self.players or not self.practice, "--practice: omit it, players are recorded")
        require(not self.players or not self.player, "--player: omit it, each player chooses a name")
        license = re.fullmatch(r"[A-Za-z0-9.+-]{1,40}", self.license)
        require(license is not None, f"--license {self.license}: give an SPDX identifier such as CC-BY-4.0")
        problem = name_problem(self.player)
        require(problem is None, f"--player: {problem}")
