"""`qwop-eval [CHECKPOINT]`: judge a policy under protocol P (docs/guides/evaluation.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

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
from qwop_cli.cluster import ClusterOptions
from qwop_datasets import DatasetError, DatasetReader, DatasetWriter, Episode, compare_style
from qwop_evaluation.evaluation import Evaluation, append_verified, evaluate
from qwop_evaluation.lookahead import Lookahead
from qwop_evaluation.player import CheckpointPlayer
from qwop_evaluation.protocol import MAX_SECONDS
from qwop_evaluation.shipped import shipped_policy_path
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, Trig
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
    temperature: float = 1.0
    """Divide the policy's logits by this before --sample draws. Below 1, likely actions become likelier."""
    lookahead: Annotated[Flag, _ONE_MODE] = False
    """Simulate continuations in the embedded game before acting, and follow the best."""
    candidates: int | None = None
    """Continuations that --lookahead simulates, 32 without this flag."""
    value_weight: float | None = None
    """Meters that a unit of the critic's value counts for --lookahead, 1 without this flag."""
    unperturbed: Flag = False
    """Play without the idle frames and repeated decisions of protocol P."""
    numpy: Flag = False
    """Compute with NumPy instead of PyTorch, which need not be installed."""
    max_seconds: float = MAX_SECONDS
    """Truncate episodes after this time."""
    json: Flag = False
    """Print one JSON object instead of the table."""
    against: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Dataset of a person's runs: also say how far the policy's keys and gait are from them."""
    against_where: str = ""
    """Filter of the person's runs, such as "success player=ana". Default: all."""
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
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        def require(fact: bool, message: str) -> None:
            if not fact:
                raise CommandError(message)

        require(self.episodes >= 1, f"--episodes {self.episodes}: expected 1 or more")
        require(self.save is not None or not self.only_finished, "--only-finished needs --save FILE.h5")
        require(self.against is not None or not self.against_where, "--against-where needs --against FILE.h5")
        require(self.temperature > 0, f"--temperature {self.temperature}: expected a number above 0")
        require(self.temperature == 1 or self.sample, "--temperature needs --sample")
        require(self.candidates is None or self.lookahead, "--candidates needs --lookahead")
        require(self.value_weight is None or self.lookahead, "--value-weight needs --lookahead")
        require(self.game == "real" or not self.watch, "--watch needs --game real")
        require(self.game == "real" or not self.native, "--native needs --game real")
        for flag, given in (("--ray", self.cluster.ray), ("--tasks", self.cluster.tasks)):
            require(self.game == "embedded" or given is None, f"{flag} needs --game embedded")


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
    outputs = {"--save": config.save}, {"--tasks": config.cluster.tasks}
    check_outputs(*outputs, inputs={"CHECKPOINT": config.checkpoint, "--against": config.against})
    player = CheckpointPlayer(config.checkpoint or shipped_policy_path(), config.numpy)
    for flag, given in (("--sample", config.sample), ("--lookahead", config.lookahead)):
        if given and not player.samples:
            raise CommandError(f"{flag}: a Q-network has no distribution to draw from; omit it")
    reference = [] if config.against is None else list(DatasetReader(config.against, config.against_where))
    lookahead = None
    if config.lookahead:
        lookahead = Lookahead()
        if config.candidates is not None:
            lookahead = replace(lookahead, candidates=config.candidates)
        if config.value_weight is not None:
            lookahead = replace(lookahead, value_weight=config.value_weight)
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
            evaluate(
                player,
                episodes=config.episodes,
                seed=config.seed,
                sample=config.sample,
                perturbed=not config.unperturbed,
                max_seconds=config.max_seconds,
                on_frame=show,
                game=game,
                lookahead=lookahead,
                trig=config.trig,
                into=episodes,
                temperature=config.temperature,
                cluster=config.cluster,
            )
        except (KeyboardInterrupt, RealGameError) as error:
            stopped = error
    kept = [e for e in episodes if e.success or not config.only_finished]
    if writer is not None:
        append_verified(writer, kept, player)
    if stopped is not None:
        if isinstance(stopped, KeyboardInterrupt) and writer is not None:
            stopped.args = (f"{config.save} has the {len(kept)} episodes that were over",)
        raise stopped
    evaluation = Evaluation(player, tuple(episodes))
    style = None if config.against is None else compare_style(episodes, reference)
    if config.json:
        print(json_text(evaluation.as_json() | ({} if style is None else {"style": style.as_json()})))
    else:
        print(evaluation, *([] if style is None else ["", style]), sep="\n")


if __name__ == "__main__":
    raise SystemExit(main())
