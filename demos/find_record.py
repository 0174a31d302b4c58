"""Search for a record with a policy that learns from the search: search, clone what was found, search again.

    python demos/find_record.py --seed 0 --out runs/record

Expert iteration (Anthony et al. 2017) with a beam search as the expert, in the undisturbed game. First the
critic is trained on runs that look ahead and finish: one that has seen no fall suits a search best, because
the beam drops what falls. In every round, short searches from the start line give some runs. The policy of
the round before learns from those of the last two rounds, and a new critic from those of the last four as
well. A long search with the last policy follows. A command that was stopped goes on with what is missing.
The result is OUT/records.h5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steps import Step, run_steps

from qwop_bc.cli import main as qwop_bc
from qwop_cli import CommandError, check_outputs, parse_config, run_command
from qwop_datasets.cli import main as qwop_data
from qwop_evaluation.cli import main as qwop_eval
from qwop_policy.cli import main as qwop_policy
from qwop_rl_core import CheckpointError
from qwop_search.cli import main as qwop_search

PROGRAM = "find_record"

LOOK_AHEAD = "--lookahead --seed 20000 --only-finished"
PASSES = "--passes-along 0 --one-per-pass --width 16 --frames 1000000000"
CLONE = (
    "--frame-skip 1 --batch-size 512 --learning-rate 3e-4 --epochs 6 --patience 6 --validation 0.1 "
    "--play-every 0 --threads 1 --device cpu"
)
CRITIC_ROUNDS = 4
LAST = "--width 128 --keep 4"


@dataclass(frozen=True)
class RecordConfig:
    """Search for a record with a policy that learns from the search."""

    policy: Path = Path("demos/policy.safetensors")
    """Policy to start from, with a decision in every frame."""
    seed: int = 0
    """Seed of the searches and the clones."""
    out: Path = Path("runs/record")
    """Folder to fill."""
    lookahead_episodes: int = 192
    """Runs that train the critic."""
    rounds: int = 24
    """Rounds of search and cloning."""
    passes: int = 32
    """Short searches of a round."""
    frames: int = 45_000_000
    """Frames of the last search."""
    hold: int = 1
    """Frames for which every search holds keys at least. With 3, 0.1 s, a person could play the runs."""

    def __post_init__(self) -> None:
        for name in ("lookahead_episodes", "rounds", "passes", "frames", "hold"):
            if getattr(self, name) < 1:
                raise CommandError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 1 or more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: find_record(parse_config(PROGRAM, RecordConfig, arguments)), CheckpointError
    )


def find_record(config: RecordConfig) -> int:
    """Do all steps that are not done yet. Returns the exit code of the first one that fails, else 0."""
    check_outputs({"--out": config.out / "records.h5"})
    return run_steps(steps(config), config.out)


def steps(config: RecordConfig) -> list[Step]:
    """Return all steps, in order."""
    out, hold = config.out, f"--hold {config.hold}"
    count = config.passes
    passes = f"--passes {count} --parallel {count} --keep {count} {PASSES} {hold}"
    lookahead, policy = out / "lookahead.h5", out / "policy-0.safetensors"
    play = f"qwop-eval {{}} {LOOK_AHEAD} --episodes {config.lookahead_episodes} --save OUT"
    made = [
        Step(qwop_eval, play, [config.policy], lookahead),
        Step(qwop_policy, "qwop-policy critic {} {} --out OUT", [config.policy, lookahead], policy),
    ]
    runs: list[Path] = []
    for number in range(1, config.rounds + 1):
        seed = f"--seed {config.seed + number}"
        runs.append(out / f"runs-{number}.h5")
        made.append(Step(qwop_search, f"qwop-search {{}} {passes} {seed} --out OUT", [policy], runs[-1]))
        learned = runs[-1]
        if number > 1:
            learned = out / f"learned-{number}.h5"
            made.append(Step(qwop_data, "qwop-data merge OUT {} {}", runs[-2:], learned))
        clone = out / f"clone-{number}.safetensors"
        words = f"qwop-bc {{}} --init {{}} --logdir {{}} {CLONE} {seed} --force --out OUT"
        made.append(Step(qwop_bc, words, [learned, policy, out / "logs" / str(number)], clone))
        policy, judged = out / f"policy-{number}.safetensors", [lookahead, *runs[-CRITIC_ROUNDS:]]
        words = f"qwop-policy critic {{}} {'{} ' * len(judged)}--out OUT"
        made.append(Step(qwop_policy, words, [clone, *judged], policy))
    last = f"qwop-search {{}} {LAST} {hold} --frames {config.frames} --seed {config.seed} --out OUT"
    return [*made, Step(qwop_search, last, [policy], out / "records.h5")]


if __name__ == "__main__":
    raise SystemExit(main())
