"""Check the figures that README and docs state: `make verify-claims`.

    python benchmarks/claims.py            # all that takes under a minute
    python benchmarks/claims.py --slow     # also those that take minutes
    python benchmarks/claims.py --pin      # accept the figures of the pages as they are now

Every figure of a page is checked in one of three ways:

1. Recomputed, or formatted again from the stored result that made it. benchmarks/claims.toml has the
   sentences, with {name} in the place of a figure, and the function here that gives the figures.
2. A table between marks in a page is made again from its results, and compared.
3. All other figures are pinned: benchmarks/claims.json has the figures of every section that names a command
   of this project. A figure that is edited fails, until the result behind it is made again and --pin
   accepts it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tyro

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from qwop_cli import CommandError, parse_config, run_command

PROGRAM = "claims"
ROOT = Path(__file__).resolve().parents[1]
CLAIMS = ROOT / "benchmarks" / "claims.toml"
PINS = ROOT / "benchmarks" / "claims.json"
OMITTED = {"CHANGELOG.md", "CONTRIBUTING.md"}
COMMAND = re.compile(
    r"\bqwop-[a-z]+\b|python (?:benchmarks|demos|tools)/\w+\.py|\bmake (?:run|bench)\b|\bpytest "
)
NUMBER = re.compile(r"(?<![\w.#/-])-?\d+(?:[.,]\d+)*(?![\w/])")
Figures = Mapping[str, str]


# ---- figures: each function gives texts by name ------------------------------------------------------------


@cache
def bench() -> Any:
    """The results of `make bench` in the repository."""
    path = ROOT / "benchmarks" / "results" / "2026-11-22.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"]


def record() -> Figures:
    """The fastest run, replayed."""
    from qwop_datasets import DatasetReader, replay_keys
    from qwop_game.gait import gait_metrics

    with DatasetReader(ROOT / "demos" / "records.h5") as runs:
        replays = replay_keys([run.keys for run in runs])
    gaits = [gait_metrics(replay.raw_observations) for replay in replays]
    figures = {f"time_{i}": f"{replay.times[-1]:.2f}" for i, replay in enumerate(replays)}
    return figures | {f"upright_{i}": f"{100 * gait.upright:.1f}" for i, gait in enumerate(gaits)}


def demonstrations() -> Figures:
    """The bundled demonstrations, replayed."""
    from qwop_datasets import DatasetReader, verify_episodes
    from qwop_evaluation import summarize

    with DatasetReader(ROOT / "demos" / "demos.h5") as runs:
        episodes = list(runs)
    summary = summarize(episodes)
    return {
        "exact": str(sum(check.exact for check in verify_episodes(episodes))),
        "runs": str(len(episodes)),
        "finish": f"{100 * sum(e.success for e in episodes) / len(episodes):.0f}",
        "median": f"{summary.median_time:.1f}",
        "best": f"{min(e.time for e in episodes if e.success):.1f}",
        "meters": f"{sum(e.distance for e in episodes) / len(episodes):.1f}",
        "knee": f"{100 * summary.gait.knee_near:.1f}",
        "upright": f"{100 * summary.gait.upright:.1f}",
    }


def shipped_policy() -> Figures:
    """`qwop-eval --seed 100 --episodes 300`."""
    return _evaluated(False)


def shipped_policy_lookahead() -> Figures:
    """`qwop-eval --seed 100 --episodes 300 --lookahead`."""
    return _evaluated(True)


def _evaluated(lookahead: bool) -> Figures:
    import torch

    from qwop_evaluation import Lookahead, evaluate, wilson_interval

    torch.set_num_threads(1)
    found = evaluate(seed=100, episodes=300, lookahead=Lookahead() if lookahead else None)
    finished = sum(episode.success for episode in found.episodes)
    low, high = wilson_interval(finished, 300)
    return {
        "whole": f"{100 * finished / 300:.0f}",
        "finish": f"{100 * finished / 300:.1f}",
        "low": f"{100 * low:.1f}",
        "high": f"{100 * high:.1f}",
        "median": f"{found.summary.median_time:.1f}",
        "median_2": f"{found.summary.median_time:.2f}",
        "upright": f"{100 * found.summary.gait.upright:.1f}",
    }


def golden() -> Figures:
    """The recorded traces of the real game."""
    import numpy as np

    traces = rows = columns = 0
    for path in sorted((ROOT / "tests" / "golden").glob("*_*.npz")):
        if path.name == "trig_variants.npz":
            continue
        with np.load(path) as stored:
            for name in stored.files:
                if name.startswith("states"):
                    traces, rows, columns = traces + 1, rows + len(stored[name]), stored[name].shape[1]
    return {"traces": f"{traces:,}", "rows": f"{rows:,}", "columns": str(columns)}


def training_speed() -> Figures:
    """Rows of `make bench` about the trainers."""
    rows = {row["trainer"]: row for row in bench()["trainer"]["rows"]}
    times = {name: f"{row['ours_is_times']:.1f}" for name, row in rows.items()}
    return {
        "ours": f"{rows['ours']['steps_per_second'] / 1000:.0f}",
        "sb3": times["Stable-Baselines3, DummyVecEnv"],
        "cleanrl": times["CleanRL's loop, SyncVectorEnv"],
        "cleanrl_our_games": times["CleanRL's loop, our vector environment"],
    }


def simulator_speed() -> Figures:
    """The fastest row of `make bench` with 256 games in mid-run."""
    rows = [r for r in bench()["simulator"] if r.get("workload") == "run" and r.get("num_envs") == 256]
    return {"frames": f"{max(row['frames_per_second'] for row in rows) / 1000:.0f}"}


def benchmark_policy() -> Figures:
    """The shipped policy on the test episodes of each task."""
    import torch

    from qwop_benchmark import TASKS, TEST_SEEDS, play
    from qwop_evaluation import CheckpointPlayer, shipped_policy_path

    torch.set_num_threads(1)
    player = CheckpointPlayer(shipped_policy_path())
    figures: dict[str, str] = {}
    for task in TASKS.values():
        played = play(task, player, list(TEST_SEEDS))
        key = {"100m": "m100", "10m": "m10"}.get(task.name, task.name.replace("-", "_"))
        figures[key] = f"{sum(run.score for run in played) / len(played):.1f}"
        figures[f"{key}_meters"] = f"{sum(run.meters for run in played) / len(played):.1f}"
        figures[f"{key}_finished"] = str(sum(run.finished for run in played))
    return figures


CHECKS: dict[str, Callable[[], Figures]] = {
    function.__name__: cache(function)
    for function in (
        record,
        demonstrations,
        shipped_policy,
        shipped_policy_lookahead,
        golden,
        training_speed,
        simulator_speed,
        benchmark_policy,
    )
}


# ---- tables that are made from results ---------------------------------------------------------------------


def knee_scraping_tables(text: str) -> str:
    """The tables of the study, made again from its stored results."""
    import knee_scraping
    from studies import read_results

    return knee_scraping.with_tables(text, read_results(knee_scraping.PICTURES / "results.json"))


def reference_tables(text: str) -> str:
    """The tables of the reference learners, made again from their stored results."""
    import reference

    for path in sorted(reference.RESULTS.glob("reference-*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        text = reference.with_table(text, stored)
    return text


def scoreboard_table(text: str) -> str:
    """The scoreboard, from entries that are verified again."""
    from qwop_benchmark.scoreboard import put_table

    return put_table(text, _verified_scoreboard(), "docs/benchmark/submit.md")


@cache
def _verified_scoreboard() -> str:
    from qwop_benchmark.scoreboard import scoreboard_table, verified_entries

    return scoreboard_table(verified_entries(ROOT / "benchmark" / "scoreboard"))


TABLES: dict[str, Callable[[str], str]] = {
    "docs/experiments/knee-scraping.md": knee_scraping_tables,
    "docs/benchmark/reference.md": reference_tables,
    "docs/benchmark/submit.md": scoreboard_table,
}


# ---- the check ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClaimsConfig:
    """Check the figures that README and docs state."""

    slow: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also recompute figures that take minutes."""
    pin: tyro.conf.FlagCreatePairsOff[bool] = False
    """Accept the figures of the pages as they are now, and write benchmarks/claims.json."""


@dataclass(frozen=True)
class Claim:
    """A sentence of a page with figures that are recomputed."""

    page: str
    text: str
    """With {name} in the place of figures."""
    check: str
    slow: bool = False


def claims() -> list[Claim]:
    """Read benchmarks/claims.toml."""
    try:
        found = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claim"]
        return [Claim(**claim) for claim in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{CLAIMS}: {error}") from None


def pages(root: Path = ROOT) -> dict[str, str]:
    """The pages by their path."""
    files = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    names = sorted(path.relative_to(root).as_posix() for path in files)
    return {name: (root / name).read_text(encoding="utf-8") for name in names if name not in OMITTED}


def problem(claim: Claim, text: str, figures: Figures) -> str | None:
    """Return what is wrong with a claim; None if the page says what was computed."""
    wanted = _spaces(claim.text.format(**figures))
    if wanted in _spaces(text):
        return None
    parts = re.split(r"\{(\w+)\}", _spaces(claim.text))
    pattern = "".join(re.escape(part) if i % 2 == 0 else r"(\S+?)" for i, part in enumerate(parts))
    found = re.search(pattern, _spaces(text))
    if found is None:
        return f"{claim.page}: no longer says {claim.text!r}; change benchmarks/claims.toml with the page"
    pairs = zip(parts[1::2], found.groups(), strict=True)
    name, said = next((name, said) for name, said in pairs if said != figures[name])
    return f"{claim.page}: says {said} for {name} in {claim.text!r}; {claim.check} gives {figures[name]}"


def _spaces(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def sections(page: str, text: str) -> dict[str, str]:
    """The figures of each section that names a command: "page#heading" -> numbers, separated by spaces."""
    found: dict[str, str] = {}
    parts = re.split(r"^(#+ .*)$", "# \n" + text, flags=re.MULTILINE)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        numbers = NUMBER.findall(body)
        if numbers and COMMAND.search(body):
            key = f"{page}#{heading.lstrip('# ')}"
            found[key] = f"{found[key]} {' '.join(numbers)}" if key in found else " ".join(numbers)
    return found


def pinned_problems(current: Mapping[str, str], pins: Mapping[str, str]) -> list[str]:
    """Return a line for every section whose figures are not the pinned ones."""
    problems: list[str] = []
    for key in sorted(current.keys() | pins.keys()):
        now, before = current.get(key, "").split(), pins.get(key, "").split()
        if now != before:
            pairs = [(a, b) for a, b in zip(before, now, strict=False) if a != b]
            told = f"{len(before)} figures became {len(now)}"
            if pairs and len(before) == len(now):
                told = f"{pairs[0][0]} became {pairs[0][1]}"
            problems.append(
                f"{key}: {told}; make the result behind it again, then run python benchmarks/claims.py --pin"
            )
    return problems


def check(config: ClaimsConfig) -> int:
    """Check everything. Returns 1 if something fails."""
    texts = pages()
    current = {key: value for page, text in texts.items() for key, value in sections(page, text).items()}
    if config.pin:
        PINS.write_text(
            json.dumps(current, indent=0, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    problems: list[str] = []
    counts = {"recomputed": 0, "tables": 0, "slow": 0}
    for claim in claims():
        if claim.check not in CHECKS or claim.page not in texts:
            raise CommandError(f"{CLAIMS}: no check {claim.check}, or no page {claim.page}")
        if claim.slow and not config.slow:
            counts["slow"] += 1
            continue
        wrong = problem(claim, texts[claim.page], CHECKS[claim.check]())
        problems += [wrong] if wrong else []
        counts["recomputed"] += len(re.findall(r"\{\w+\}", claim.text))
    for page, again in TABLES.items():
        counts["tables"] += 1
        if again(texts[page]) != texts[page]:
            problems.append(f"{page}: a table is not what its results give; make it again")
    pins: dict[str, str] = json.loads(PINS.read_text(encoding="utf-8"))
    problems += pinned_problems(current, pins)
    for line in problems:
        print(line)
    numbers = sum(len(value.split()) for value in current.values())
    print(
        f"{counts['recomputed']} figures recomputed, tables of {counts['tables']} pages made again, "
        f"{numbers} figures of {len(current)} sections pinned; {counts['slow']} sentences left for --slow; "
        f"{len(problems)} problems"
    )
    return 1 if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 1 if a figure is wrong."""
    return run_command(
        PROGRAM, lambda: check(parse_config(PROGRAM, ClaimsConfig, arguments, description=__doc__))
    )


if __name__ == "__main__":
    raise SystemExit(main())
