"""The scoreboard: a Markdown table of verified entries, in the order of their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from qwop_benchmark.submission import SubmissionError
from qwop_benchmark.tasks import DECISIONS, DEMONSTRATIONS, SEARCH_FRAMES, TASKS, budget_class
from qwop_benchmark.verification import Verified, verify_entry, without_duplicates

BEGIN, END = "<!-- scoreboard -->", "<!-- end of scoreboard -->"
SUFFIX = ".entry.safetensors"
COLUMNS = (
    "task", "name", "kind", "decisions", "demonstrations", "search frames", "CPU s", "score", "finished",
    "median", "SHA-256",
)  # fmt: skip


def verified_entries(folder: Path) -> list[Verified]:
    """Verify all entries of a folder.

    Raises:
        SubmissionError: there is no entry, one can't be verified, or two are the same.
    """
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise SubmissionError(f"{folder}: no files *{SUFFIX}; make one with qwop-benchmark verify --entry")
    return without_duplicates((str(path), verify_entry(path)) for path in files)


def scoreboard_table(entries: Sequence[Verified]) -> str:
    """Return the Markdown table of verified entries, without a last line break."""
    order = {name: i for i, name in enumerate(TASKS)}
    ranked = sorted(entries, key=lambda v: (order[v.submission.task.id], -v.score, v.submission.name))
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_row, ranked)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def put_table(page: str, table: str, where: str) -> str:
    """Replace the table between the marks of a page.

    Raises:
        SubmissionError: the page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SubmissionError(f"{where}: has no lines {BEGIN} and {END}; add them where the table belongs")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _row(verified: Verified) -> tuple[str, ...]:
    submission, budget = verified.submission, verified.submission.budget
    interval = verified.interval
    score = f"{verified.score:.1f}"
    if interval is not None:
        score += f" ({interval[0]:.1f} to {interval[1]:.1f})"
    seconds = verified.median_seconds
    return (
        submission.task.id,
        _plain(submission.name),
        submission.kind,
        _class(budget.decisions, DECISIONS),
        _class(budget.demonstrations, DEMONSTRATIONS),
        _class(budget.search_frames, SEARCH_FRAMES),
        f"{budget.cpu_seconds:,}" if budget.cpu_seconds else "-",
        score,
        f"{verified.finished} of {len(verified.episodes)}",
        "-" if math.isnan(seconds) else f"{seconds:.2f} s",
        f"`{submission.sha256[:12]}`",
    )


def _class(amount: int, classes: tuple[int, ...]) -> str:
    """The budget class as text: "1 M", or "-" for nothing."""
    if not amount:
        return "-"
    limit = budget_class(amount, classes)
    if limit is None:
        return f"over {_amount(classes[-1])}"
    return _amount(limit)


def _amount(number: int) -> str:
    return f"{number // 1_000_000} M" if number >= 1_000_000 else str(number)


def _plain(text: str) -> str:
    """A name that can't be Markdown or HTML."""
    return "".join(c if c.isalnum() or c in " -_.,+:()" else f"&#{ord(c)};" for c in text)
