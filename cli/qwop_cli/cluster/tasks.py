"""Map a function over independent tasks. Start reading at `map_tasks`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from functools import partial
from typing import Any, TypeVar

from tqdm import tqdm

from qwop_cli.cluster.kept import KeptResults
from qwop_cli.cluster.options import ClusterOptions
from qwop_cli.command import CommandError, ProgressTimer, log_progress

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
POLL_SECONDS = 0.5
"""Time between two calls of `poll`, s."""


class TasksFailedError(CommandError):
    """Some tasks failed. All others were done, and their results were yielded."""


def map_tasks(
    function: Callable[[S, T], R],
    shared: S,
    tasks: Sequence[T],
    *,
    options: ClusterOptions | None = None,
    kept: KeptResults[R] | None = None,
    names: Sequence[str] | None = None,
    workers: int = 1,
    threads: bool = False,
    cpus: int = 1,
    poll: Callable[[], bool] | None = None,
    unit: str = "task",
    sizes: Sequence[int] | None = None,
    show: bool = True,
) -> Generator[tuple[int, R]]:
    """Call function(shared, task) for every task, and yield (index, result) as the tasks end.

    The calls run in this process, in a pool of processes or threads, or on Ray's nodes. They are the same
    calls, so a deterministic function gives the same results everywhere. Ray repeats a task whose process or
    node died. A task that raises does not stop the others: the error comes after all other results.

    Args:
        function: for processes or Ray, a function of an installed module, or of the script that runs.
        shared: what all tasks need, sent to each node once.
        tasks: one argument for each call.
        options: Ray's address.
        kept: results on disk: tasks that are there are not called again, and new results are added.
        names: names of the tasks in `kept`, without repeats; their indices if None.
        workers: processes without Ray; 1: this one.
        threads: the workers are threads of this process. When the map ends early, the calls that run go on.
        cpus: cores that a task uses on Ray.
        poll: called about twice a second while tasks run elsewhere; True ends the map early.
        unit: what the progress bar counts.
        sizes: how many units a task is worth; 1 each if None.
        show: show a progress bar, or lines of progress without a terminal.

    Yields:
        The index of a task and its result, those of `kept` first.

    Raises:
        TasksFailedError: some of several tasks raised. A single task raises its own error.
        CommandError: Ray is not installed, or its cluster can't be reached.
    """
    names = [f"{i:06d}" for i in range(len(tasks))] if names is None else names
    todo = list(range(len(tasks)))
    failures: list[tuple[int, Exception]] = []
    timer = ProgressTimer()
    total = len(tasks) if sizes is None else sum(sizes)
    with tqdm(total=total, unit=f" {unit}s", disable=None if show else True, leave=False, delay=0.5) as bar:
        done = 0

        def advance(index: int) -> None:
            nonlocal done
            done += 1 if sizes is None else sizes[index]
            bar.update(1 if sizes is None else sizes[index])
            if bar.disable and show and timer.due():
                log_progress(f"{done} of {total} {unit}s done")

        if kept is not None:
            todo = [i for i in todo if not kept.has(names[i])]
            for index in sorted(set(range(len(tasks))) - set(todo)):
                advance(index)
                yield index, kept.read(names[index])

        def refresh() -> bool:
            bar.refresh()  # so that its time goes on before the first task has ended
            return poll is not None and poll()

        for index, result in _outcomes(
            function, shared, tasks, todo, options, workers, threads, cpus, refresh
        ):
            if isinstance(result, _Failure):
                failures.append((index, result.error))
                continue
            if kept is not None:
                kept.write(names[index], result)
            advance(index)
            yield index, result
    if failures:
        index, error = failures[0]
        if len(tasks) == 1:
            raise error
        text = " ".join(str(error).split()) or type(error).__name__
        again = "" if kept is None else "; the same command repeats only these"
        raise TasksFailedError(
            f"{len(failures)} of {len(tasks)} tasks failed, the first ({names[index]}): {text}{again}"
        ) from error


class _Failure:
    """What a task raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _outcomes(
    function: Callable[[S, T], R],
    shared: S,
    tasks: Sequence[T],
    todo: Sequence[int],
    options: ClusterOptions | None,
    workers: int,
    threads: bool,
    cpus: int,
    poll: Callable[[], bool] | None,
) -> Iterator[tuple[int, R | _Failure]]:
    if not todo:
        return
    if options is not None and options.ray is not None:
        from qwop_cli.cluster.on_ray import run_on_ray

        for index, result, error in run_on_ray(options.ray, function, shared, tasks, todo, cpus, poll):
            yield index, result if error is None else _Failure(error)
    elif workers == 1 or len(todo) == 1:
        for index in todo:
            try:
                result = function(shared, tasks[index])
            except Exception as error:
                yield index, _Failure(error)
            else:
                yield index, result
    else:
        yield from _in_pool(partial(function, shared), tasks, todo, workers, threads, poll)


def _in_pool(
    function: Callable[[T], R],
    tasks: Sequence[T],
    todo: Sequence[int],
    workers: int,
    threads: bool,
    poll: Callable[[], bool] | None,
) -> Iterator[tuple[int, R | _Failure]]:
    count = min(workers, len(todo))
    pool: Executor
    if threads:
        pool = ThreadPoolExecutor(count)
    else:
        pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
    jobs: dict[Future[Any], int] = {pool.submit(function, tasks[i]): i for i in todo}
    try:
        pending = set(jobs)
        while pending:
            ended, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
            for job in ended:
                error = job.exception()
                if error is None:
                    yield jobs[job], job.result()
                elif isinstance(error, Exception):
                    yield jobs[job], _Failure(error)
                else:
                    raise error
            if poll is not None and poll():
                break
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
