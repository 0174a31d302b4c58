"""How a server stores many players' runs without waiting for the disk: two queues.

`GroupCommit` syncs the journal for all who wait at once. `RunFiler` hands kept runs to a process of its own,
which verifies them by replay and appends them to the dataset.
"""

import asyncio
import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from qwop_cli import stop_signals
from qwop_datasets import DatasetError, Episode, Recording, SharedJournal, page_run_episode
from qwop_recorder.keeping import StoreError
from qwop_recorder.storage import RunFile
from qwop_recorder.web_table import counts_as_best

COMMIT_GAP = 0.008
"""Seconds between two commits. A shorter gap costs more of a core and acknowledges hardly sooner."""
BATCH_RUNS, BATCH_FRAMES = 32, 60_000
"""Most that the filing process verifies and appends at once; 16 MB while they are verified."""
RETRY_SECONDS = 2.0
"""Pause after the disk has refused a run."""


class GroupCommit:
    """Commits the journal for everybody who waits, in a thread, again and again.

    Args:
        journal: The journal.
        gap: Least time from the start of one commit to the next, s.
    """

    def __init__(self, journal: SharedJournal, gap: float = COMMIT_GAP) -> None:
        self._journal = journal
        self._gap = gap
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "journal")

    async def durable(self) -> None:
        """Return once all that the journal has taken in by now is on the disk.

        Raises:
            StoreError: The disk refuses.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wake.set()
        await future

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        started = loop.time() - self._gap
        while True:
            await self._wake.wait()
            if (early := started + self._gap - loop.time()) > 0:
                await asyncio.sleep(early)
            started = loop.time()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._journal.commit)
            except DatasetError as error:
                for future in waiting:
                    if not future.done():
                        future.set_exception(StoreError(str(error)))
                continue
            for future in waiting:
                if not future.done():
                    future.set_result(None)


def owned_id(owner: str, page_id: str) -> str:
    """The id of an episode: no player can choose that of another player's run.

    Args:
        owner: The player's secret.
        page_id: What the page calls the run.
    """
    return hashlib.sha256(f"{owner} {page_id}".encode("utf-8", "replace")).hexdigest()[:32]


@dataclass(frozen=True)
class SentRun:
    """A run that a page has sent as a whole."""

    text: bytes
    """Its file, see runs.js."""
    player: str
    """The player's name, whatever the file says."""
    owner: str
    """See `owned_id`."""
    provenance: dict[str, str | int | float | bool]
    """What is stored with the run."""
    max_frames: int

    def episode(self) -> Episode:
        """The run, verified by replay. Raises DatasetError."""
        found = page_run_episode(self.text, self.max_frames)
        return found.replace(
            id=owned_id(self.owner, found.id),
            player=self.player,
            provenance={**found.provenance, **self.provenance},
        )


@dataclass(frozen=True)
class Filed:
    """What became of a run."""

    verified: str = ""
    """Episode.verified, of a run that is in the file."""
    refused: str = ""
    """Why it is no run that can be stored."""
    id: str = ""
    distance: float = 0.0
    time: float = 0.0
    frames: int = 0
    success: bool = False
    counts: bool = False
    """Whether it may be the player's best."""


@dataclass(eq=False)
class _Job:
    run: Recording | SentRun
    done: Callable[[Filed], None]

    @property
    def frames(self) -> int:
        return self.run.num_frames if isinstance(self.run, Recording) else self.run.max_frames

    def message(self) -> Episode | SentRun:
        return self.run.episode() if isinstance(self.run, Recording) else self.run


class RunFiler:
    """Puts kept runs into the dataset, in a process of its own, in the order in which they come.

    Args:
        path: The dataset.
        tell: Takes a line when the disk refuses.

    problem: Why the disk refused the latest runs; they are tried again.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell
        self._jobs: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, "filer")
        self._connection: Connection | None = None
        self.problem: str | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def frames(self) -> int:
        """Frames of the runs that wait."""
        return sum(job.frames for job in self._jobs)

    def put(self, run: Recording | SentRun, done: Callable[[Filed], None]) -> None:
        """Take a run; `done` is called once it is in the file, or refused for good."""
        self._jobs.append(_Job(run, done))
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            batch = self._batch()
            try:
                results = await loop.run_in_executor(self._thread, self._exchange, batch)
            except StoreError as error:
                if self.problem is None:
                    self._tell(f"not saved yet: {error}; {len(self._jobs)} run(s) wait")
                self.problem = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.problem = None
            for job, filed in zip(batch, results, strict=True):
                self._jobs.popleft()
                job.done(filed)
            if not self._jobs:
                self._wake.clear()
                self._idle.set()

    async def drained(self) -> None:
        """Return once no run waits, or the disk has refused one."""
        while self._jobs and self.problem is None:
            try:
                await asyncio.wait_for(self._idle.wait(), 0.1)
            except asyncio.TimeoutError:
                pass

    def close(self) -> None:
        """End the process; it finishes what it has."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()

    def _batch(self) -> list[_Job]:
        batch: list[_Job] = []
        longest = 0
        for job in self._jobs:
            longest = max(longest, job.frames)
            if len(batch) == BATCH_RUNS or (batch and longest * (len(batch) + 1) > BATCH_FRAMES):
                break
            batch.append(job)
        return batch

    def _exchange(self, batch: Sequence[_Job]) -> list[Filed]:
        """Send runs to the process, and wait for its answer. Raises StoreError."""
        messages = [job.message() for job in batch]
        for _ in range(2):
            try:
                connection = self._connection or self._start()
                self._connection = connection
                connection.send(messages)
                answer = connection.recv()
            except (EOFError, OSError):  # killed, such as by a system without memory: start another one
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                continue
            if isinstance(answer, str):
                raise StoreError(answer)
            return answer
        raise StoreError("the process that writes the file was killed")

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_file_runs, args=(there, self._path), daemon=False)
        process.start()
        there.close()  # so that the process sees the end when this one is killed
        return here


def _file_runs(connection: Connection, path: Path) -> None:
    """The filing process: answers runs with what became of them, or with why the disk refuses."""
    for number in stop_signals():  # the server ends it, when all runs are in the file
        signal.signal(number, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)  # acknowledgements come first
    file: RunFile | None = None
    while True:
        try:
            messages = connection.recv()
        except (EOFError, OSError):
            return
        try:
            file = file or RunFile(path)
            answer: list[Filed] | str = _filed(file, messages)
        except Exception as error:
            answer = " ".join(f"{error}".split()) or type(error).__name__
        try:
            connection.send(answer)
        except OSError:
            return


def _filed(file: RunFile, messages: Sequence[Episode | SentRun]) -> list[Filed]:
    """Verify and append runs. Raises StoreError."""
    results: list[Filed | None] = []
    episodes: list[Episode] = []
    for message in messages:
        if isinstance(message, SentRun):
            try:
                message = message.episode()
            except DatasetError as error:
                results.append(Filed(refused=str(error)))
                continue
        episodes.append(message)
        results.append(None)
    texts = iter(zip(episodes, file.add(episodes), strict=True))
    return [result or _about(*next(texts)) for result in results]


def _about(episode: Episode, verified: str) -> Filed:
    return Filed(
        verified,
        id=episode.id,
        distance=episode.distance,
        time=episode.time,
        frames=episode.num_frames,
        success=episode.success,
        counts=counts_as_best(episode.source, episode.tags) and episode.rewinds is None,
    )
