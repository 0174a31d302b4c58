"""Train the shipped policy from nothing, in stages: each `qwop-finetune` starts from the one before.

    python demos/train_policy.py --seed 0 --out runs/policy

Then rounds of runs that look ahead train the critic by which they look ahead (`qwop-policy critic`). Ctrl-C
stops it with a checkpoint, and the same command resumes it exactly. The result, OUT/policy.safetensors, has
the network and no state of the training.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steps import Step, run_steps

from qwop_cli import check_outputs, parse_config, run_command
from qwop_evaluation.cli import main as qwop_eval
from qwop_finetune.cli import main as qwop_finetune
from qwop_policy.cli import main as qwop_policy
from qwop_rl_core import (
    CheckpointError,
    load_checkpoint,
    prefixed,
    save_checkpoint,
    section,
    without_training,
)

PROGRAM = "train_policy"


@dataclass(frozen=True)
class Stage:
    """One training: its name, its budget in environment steps and its flags of `qwop-finetune`."""

    name: str
    steps: int
    flags: str


EVERY_STAGE = "--precision bfloat16 --threads 2 --device cpu"  # two threads have the bits of one
LATER_STAGES = "--update-normalizer --reference-kl-coef 0"
STAGES = (
    # A knee near the track ends the episode at once. A policy that can't scrape learns to stand, then to
    # stride.
    Stage(
        "1-stride",
        2_300_000,
        "--frame-skip 4 --reward stride --reward-option knee_seconds=0 "
        "--learning-rate 3e-4 --no-anneal-learning-rate --entropy-coef 0.02",
    ),
    # Two frames per decision, a horizon of 7 s, and a reward that grows with speed: from 72 s to 51 s.
    Stage(
        "2-speed",
        5_000_000,
        "--frame-skip 2 --change-frame-skip --fresh-critic --critic-warmup-steps 60000 "
        "--reward stride+0.15*upright --reward-option power=2 --reward-option step_cost=0.01 "
        "--reward-option knee_seconds=0.25 --drills 0.5 "
        "--learning-rate 7e-4 --no-anneal-learning-rate --gamma 0.99 --entropy-coef 0.003",
    ),
    # One frame per decision, a reward linear in the distance, and nearly all episodes are drills.
    Stage(
        "3-frames",
        8_000_000,
        "--frame-skip 1 --change-frame-skip --critic-warmup-steps 100000 "
        "--reward stride+0.15*upright --reward-option step_cost=0.045 --reward-option fall_cost=6 "
        "--reward-option knee_seconds=0.25 --drills 0.85 --learning-rate 5e-4 --gamma 0.9975 "
        "--gae-lambda 0.975 --entropy-coef 0.0005 --rollout-length 64 --minibatch-size 4096",
    ),
    # Larger batches, a shorter horizon and a higher cost of falls: less noise in the gradient.
    Stage(
        "4-polish",
        5_000_000,
        "--frame-skip 1 --reward stride+0.15*upright --reward-option step_cost=0.05 "
        "--reward-option fall_cost=15 --reward-option knee_seconds=0.25 --drills 0.85 "
        "--critic-warmup-steps 60000 "
        "--learning-rate 4e-4 --gamma 0.995 --gae-lambda 0.975 --entropy-coef 0.0003 "
        "--rollout-length 128 --minibatch-size 8192",
    ),
    # The same with a still higher cost of falls. The learning rate starts at its first value again.
    Stage(
        "5-pace",
        7_000_000,
        "--frame-skip 1 --reward stride+0.15*upright --reward-option step_cost=0.05 "
        "--reward-option fall_cost=18 --reward-option knee_seconds=0.25 --drills 0.85 "
        "--learning-rate 4e-4 --gamma 0.995 --gae-lambda 0.975 --entropy-coef 0.0003 "
        "--rollout-length 128 --minibatch-size 8192",
    ),
    # A runner that drags the hurdle along falls over it 5 to 30 m later, and can't observe it. Drills and
    # horizon are long enough to connect such falls with the approach to the hurdle.
    Stage(
        "6-hurdle",
        4_000_000,
        "--frame-skip 1 --reward stride+0.15*upright --reward-option step_cost=0.05 "
        "--reward-option fall_cost=20 --reward-option knee_seconds=0.25 --drills 0.8 --drill-meters 55 "
        "--learning-rate 4e-4 --gamma 0.9985 --gae-lambda 0.98 --entropy-coef 0.0003 "
        "--rollout-length 128 --minibatch-size 8192",
    ),
)


@dataclass(frozen=True)
class Round:
    """Runs that look ahead; then the critic is trained anew on the runs of all rounds so far."""

    episodes: int
    flags: str
    """Flags of `qwop-eval`."""


ROUNDS = (
    # PPO's critic judges. It values the runs without look-ahead, so its weight is small; no run falls.
    Round(192, "--seed 20000 --candidates 16 --value-weight 0.5"),
    # The new critic has seen no fall, and leads into some. From these it learns what to avoid.
    Round(320, "--seed 21000 --candidates 16 --value-weight 0.7"),
    # The more continuations there are, the more often one is chosen that the critic overestimates.
    Round(256, "--seed 23000"),
)


@dataclass(frozen=True)
class TrainingConfig:
    """Train the shipped policy from nothing, stage after stage."""

    seed: int = 0
    """Seed of every stage."""
    out: Path = Path("runs/policy")
    """Folder to fill."""
    budget: float = 1.0
    """Share of the steps of every stage and of the episodes of every round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""

    def command() -> int:
        config = parse_config(PROGRAM, TrainingConfig, arguments)
        return train(config.out, config.seed, config.budget)

    return run_command(PROGRAM, command, CheckpointError)


def train(out: Path, seed: int, budget: float) -> int:
    """Run all stages in turn. Returns the exit code of the first one that fails, else 0."""
    check_outputs({"--out": out / "policy.safetensors"})
    before = None
    for stage in STAGES:
        path = out / f"{stage.name}.safetensors"
        if code := run(stage, path, before, seed, round(budget * stage.steps)):
            return code
        before = path
    assert before is not None
    network = out / "network.safetensors"
    known = load_checkpoint(network).tensors if network.exists() else {}
    strip(before, network, f"demos/train_policy.py --seed {seed}")
    made = load_checkpoint(network).tensors
    if not (known.keys() == made.keys() and all(known[name].equal(made[name]) for name in made)):
        for old in (*out.glob("runs-*.h5"), *out.glob("critic-*.safetensors")):
            old.unlink()  # of another network
    rounds = critic_steps(network, out, budget)
    if code := run_steps(rounds):
        return code
    policy = out / "policy.safetensors"
    shutil.copyfile(rounds[-1].output, policy)
    print(f"{policy}: judge it with qwop-eval {policy}")
    return 0


def critic_steps(network: Path, out: Path, budget: float) -> list[Step]:
    """Return the steps of all rounds, in order; the last one writes the last critic."""
    made: list[Step] = []
    runs: list[Path] = []
    judge = network
    for number, each in enumerate(ROUNDS, 1):
        runs.append(out / f"runs-{number}.h5")
        episodes = max(1, round(budget * each.episodes))
        play = f"qwop-eval {{}} --lookahead {each.flags} --episodes {episodes} --save OUT"
        made.append(Step(qwop_eval, play, [judge], runs[-1]))
        judge = out / f"critic-{number}.safetensors"
        learn = f"qwop-policy critic {{}} {'{} ' * number}--out OUT"
        made.append(Step(qwop_policy, learn, [network, *runs], judge))
    return made


def run(stage: Stage, path: Path, before: Path | None, seed: int, steps: int) -> int:
    """Start or resume a stage; do nothing if it is done. Returns the command's exit code."""
    if path.exists():
        if load_checkpoint(path).metadata["training"]["steps"] >= steps:
            return 0
        command = ["--resume", str(path), "--total-steps", str(steps)]
    else:
        command = arguments(stage, path, before, seed, steps)
    print(f"\n{stage.name}\n$ qwop-finetune {shlex.join(command)}", flush=True)
    return qwop_finetune(command)


def arguments(stage: Stage, path: Path, before: Path | None, seed: int, steps: int) -> list[str]:
    """Return the arguments of `qwop-finetune` that start a stage."""
    flags = [*stage.flags.split(), *EVERY_STAGE.split(), "--seed", str(seed)]
    if before is not None:
        flags += ["--init", str(before), *LATER_STAGES.split()]
    return [*flags, "--total-steps", str(steps), "--out", str(path)]


def strip(trained: Path, policy: Path, made_by: str) -> None:
    """Write a checkpoint with only the network and the metadata that it needs to play."""
    tensors, metadata = load_checkpoint(trained)
    network = prefixed("network", section(tensors, "network"))
    save_checkpoint(policy, network, {**without_training(metadata), "made_by": made_by})


if __name__ == "__main__":
    raise SystemExit(main())
