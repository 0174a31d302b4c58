"""`qwop-eval [CHECKPOINT]`: judge a policy under protocol P (docs/guides/evaluation.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from qwop_cli import (
    CommandError,
    ProgressTimer,
    check_outputs,
    json_text,
    log_progress,
    parse_config,
    run_command,
)
from qwop_datasets import DatasetError, DatasetWriter, Episode, verify_episodes
from qwop_evaluation.lookahead import Lookahead
from qwop_evaluation.player import CheckpointPlayer, shipped_policy_path
from qwop_evaluation.protocol import MAX_SECONDS, play
from qwop_evaluation.summary import summarize, summary_json
from qwop_evaluation.table import format_number, results_table
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, Trig
from qwop_game.gait import GaitMetrics
from qwop_game.real import RealGame, RealGameError
from qwop_rl_core import CheckpointError

PROGRAM = "qwop-eval"
Flag = tyro.conf.FlagCreatePairsOff[bool]
_ONE_MODE = tyro.conf.create_mutex_group(required=False)
_ONE_TRIG = tyro.conf.create_mutex_group(required=False)


@dataclass(frozen=True)
class EvaluationConfig:
    """Judge a policy under protocol P."""

    checkpoint: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")] = None
    """Policy to judge; without it, the shipped policy."""
    episodes: int = 100
    """Number of episodes."""
    seed: int = 0
    """Seed of the first episode; the others count up from it."""
    argmax: Annotated[Flag, _ONE_MODE] = False
    """Take the most likely action. This is what happens without these flags."""
    sample: Annotated[Flag, _ONE_MODE] = False
    """Draw actions from the policy."""
    lookahead: Annotated[Flag, _ONE_MODE] = False
    """Simulate continuations in the embedded game before acting, and follow the best."""
    candidates: int | None = None
    """Continuations that --lookahead simulates, 16 without this flag."""
    unperturbed: Flag = False
    """Play without the idle frames and repeated decisions of protocol P."""
    max_seconds: float = MAX_SECONDS
    """Truncate episodes after this time."""
    json: Flag = False
    """Print one JSON object instead of the table."""
    save: Path | None = None
    """Dataset (.h5) to append the episodes to, verified."""
    only_finished: Flag = False
    """Save finished runs only."""
    game: Literal["embedded", "real"] = "embedded"
    """Where to play: the embedded game, or the real one in a browser (see qwop-game doctor)."""
    trig: Annotated[Trig, _ONE_TRIG] = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    native: Annotated[Flag, _ONE_TRIG] = False
    """Play the real game with the browser's own sine and cosine, not with exact ones of --trig."""
    watch: Flag = False
    """Show the real game in its window."""
    browser: str | None = None
    """Path of the browser for the real game, where it is not found."""
    driver: str | None = None
    """Path of its chromedriver or geckodriver, where it is not found."""

    def __post_init__(self) -> None:
        def require(fact: bool, message: str) -> None:
            if not fact:
                raise CommandError(message)

        require(self.episodes >= 1, f"--episodes {self.episodes}: expected 1 or more")
        require(self.save is not None or not self.only_finished, "--only-finished needs --save FILE.h5")
        require(self.candidates is None or self.lookahead, "--candidates needs --lookahead")
        require(self.game == "real" or not self.watch, "--watch needs --game real")
        require(self.game == "real" or not self.native, "--native needs --game real")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(
        PROGRAM,
        lambda: _evaluate(parse_config(PROGRAM, EvaluationConfig, arguments)),
        CheckpointError,
        DatasetError,
        RealGameError,
        ValueError,
    )


def _evaluate(config: EvaluationConfig) -> None:
    check_outputs({"--save": config.save}, inputs={"CHECKPOINT": config.checkpoint})
    player = CheckpointPlayer(config.checkpoint or shipped_policy_path())
    for flag, given in (("--sample", config.sample), ("--lookahead", config.lookahead)):
        if given and not player.samples:
            raise CommandError(f"{flag}: a Q-network has no distribution to draw from; omit it")
    lookahead = None
    if config.lookahead:
        lookahead = Lookahead() if config.candidates is None else Lookahead(config.candidates)
    writer = None
    if config.save is not None:
        config.save.parent.mkdir(parents=True, exist_ok=True)
        writer = DatasetWriter(config.save)
    game = None
    if config.game == "real":
        trig = None if config.native else config.trig
        game = RealGame(not config.watch, config.browser, config.driver, trig=trig)
    due = time.perf_counter()
    timer = ProgressTimer()
    episodes: list[Episode] = []
    stopped: BaseException | None = None
    with (
        closing(game) if game is not None else nullcontext(),
        tqdm(total=config.episodes, desc="episodes over", disable=None, leave=False) as bar,
    ):

        def show(_frame: int, over: int) -> None:
            nonlocal due
            bar.update(over - bar.n)
            if bar.disable and timer.due():
                log_progress(f"{over} of {config.episodes} episodes over")
            if config.watch:
                now = time.perf_counter()
                due = max(due + FRAME_SECONDS, now)
                time.sleep(due - now)

        try:
            play(
                player,
                range(config.seed, config.seed + config.episodes),
                sample=config.sample,
                perturbed=not config.unperturbed,
                max_seconds=config.max_seconds,
                on_frame=show,
                game=game,
                lookahead=lookahead,
                trig=config.trig,
                into=episodes,
            )
        except (KeyboardInterrupt, RealGameError) as error:
            stopped = error
    kept = [e for e in episodes if e.success or not config.only_finished]
    if writer is not None:
        _save(writer, kept, player.sha256)
    if stopped is not None:
        if isinstance(stopped, KeyboardInterrupt) and writer is not None:
            stopped.args = (f"{config.save} has the {len(kept)} episodes that were over",)
        raise stopped
    if config.json:
        print(json_text(report(player, episodes, config.seed)))
    else:
        print(report_text(player, episodes, config.seed))


def report(player: CheckpointPlayer, episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """What `--json` prints: the summary's figures, how they were made, and every episode with its seed."""
    summary = summarize(episodes)
    return summary_json(summary) | {
        "seed": seed,
        "seeds": [int(episode.provenance["seed"]) for episode in episodes],
        "protocol": episodes[0].provenance["protocol"],
        "actions": _how(episodes[0]),
        "policy": player.name,
        "policy_sha256": player.sha256,
        "frame_skip": player.frame_skip,
        "action_set": player.action_set,
        "runs": [_run(episode, gait) for episode, gait in zip(episodes, summary.gaits, strict=True)],
    }


def report_text(player: CheckpointPlayer, episodes: Sequence[Episode], seed: int) -> str:
    """The figures as text: a table, the gait, how they were made."""
    summary = summarize(episodes)
    gait, number = summary.gait, format_number
    provenance = episodes[0].provenance
    protocol = "protocol P" if provenance["protocol"] == "P" else "unperturbed"
    cut = sum(episode.truncated for episode in episodes)
    return "\n".join(
        [
            results_table({player.name: summary}),
            "",
            f"gait: pelvis at {number(gait.pelvis_height, 2)} m, {number(gait.cadence, 0)} steps a minute, "
            f"flight {number(100 * gait.flight, 0)} %, symmetry {number(gait.symmetry, 2)}, "
            f"torso {number(gait.torso_pitch, 0)} +- {number(gait.torso_pitch_std, 0)} degrees forward, "
            f"{number(gait.key_switches, 1)} key switches a second",
            f"{protocol}, {_how(episodes[0])} actions, seeds {seed} to {seed + len(episodes) - 1}, "
            f"frame skip {player.frame_skip}" + (f"; {cut} cut short" if cut else ""),
        ]
    )


def _how(episode: Episode) -> str:
    if candidates := episode.provenance.get("lookahead_candidates"):
        return f"lookahead {candidates}"
    return "sampled" if episode.provenance["sampled"] else "argmax"


def _run(episode: Episode, gait: GaitMetrics) -> dict[str, Any]:
    return {
        "seed": episode.provenance["seed"],
        "idle_frames": episode.provenance["idle_frames"],
        "finished": episode.success,
        "truncated": episode.truncated,
        "time_s": episode.time,
        "distance_m": episode.distance,
        "knee_near": gait.knee_near,
        "upright": gait.upright,
        "strides": gait.strides,
        "symmetry": gait.symmetry,
    }


def _save(writer: DatasetWriter, episodes: Sequence[Episode], sha256: str) -> None:
    writer.append_all(
        [
            episode.replace(
                provenance={**episode.provenance, "policy_sha256": sha256}, verified=verification.text
            )
            for episode, verification in zip(episodes, verify_episodes(episodes), strict=True)
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
