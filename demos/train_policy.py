"""Train the shipped policy from nothing, in one go.

    python demos/train_policy.py --seed 0 --out runs/policy

PPO trains a runner in stages, each from the one before. A search for a record with this runner finds a
faster gait, and a clone of what it finds falls often; PPO makes it safe again. Of several trainings from
there, the mean of the weights is kept. Last, rounds of runs that look ahead train the critic by which
the policy looks ahead. Ctrl-C stops it with a checkpoint, and the same command resumes it exactly. The
result, OUT/policy.safetensors, has the network and no state of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from find_record import RecordConfig
from find_record import steps as search_steps
from steps import Step, Training, run_steps

from qwop_cli import check_outputs, parse_config, run_command
from qwop_evaluation.cli import main as qwop_eval
from qwop_finetune.cli import main as qwop_finetune
from qwop_policy.cli import main as qwop_policy
from qwop_rl_core import CheckpointError, load_checkpoint, save_checkpoint

PROGRAM = "train_policy"


@dataclass(frozen=True)
class Stage:
    """One training: its name, its budget in environment steps and its flags of `qwop-finetune`."""

    name: str
    steps: int
    flags: str


EVERY_STAGE = "--precision bfloat16 --threads 2 --device cpu"  # two threads have the bits of one
LATER_STAGES = "--update-normalizer --reference-kl-coef 0"
LARGE_BATCHES = (
    "--frame-skip 1 --reward stride+0.15*upright --reward-option step_cost=0.05 "
    "--reward-option knee_seconds=0.25 --critic-warmup-steps 60000 --learning-rate 4e-4 "
    "--entropy-coef 0.0003 --rollout-length 128 --minibatch-size 8192"
)
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
        f"{LARGE_BATCHES} --reward-option fall_cost=15 --drills 0.85 --gamma 0.995 --gae-lambda 0.975",
    ),
    # The same with a still higher cost of falls. The learning rate starts at its first value again.
    Stage(
        "5-pace",
        7_000_000,
        f"{LARGE_BATCHES} --reward-option fall_cost=18 --drills 0.85 --gamma 0.995 --gae-lambda 0.975",
    ),
    # A runner that drags the hurdle along falls over it 5 to 30 m later, and can't observe it. Drills and
    # horizon are long enough to connect such falls with the approach to the hurdle.
    Stage(
        "6-hurdle",
        4_000_000,
        f"{LARGE_BATCHES} --reward-option fall_cost=20 --drills 0.8 --drill-meters 55 "
        "--gamma 0.9985 --gae-lambda 0.98",
    ),
)

SEARCH = RecordConfig(rounds=18)
"""The search for a faster gait. Its last, long search is left out."""

# The search's policy is fast and falls often. The cost of falls grows again, and then the horizon.
SAFE_STAGES = (
    Stage(
        "7-frames",
        8_000_000,
        STAGES[2].flags.replace("fall_cost=6", "fall_cost=8") + " --fresh-critic",
    ),
    replace(STAGES[4], name="8-pace"),
    Stage(
        "9-drills",
        8_000_000,
        f"{LARGE_BATCHES} --reward-option fall_cost=20 --drills 0.8 --drill-meters 30 "
        "--gamma 0.997 --gae-lambda 0.975",
    ),
)

# From the last of these, each with a seed of its own. With a higher cost of falls and longer drills they fall
# less often and are slower. The mean of their weights, and of those that they start from, falls as rarely and
# is not slower.
BRANCHES = (
    Stage(
        "10-branch-1",
        8_000_000,
        f"{LARGE_BATCHES} --reward-option fall_cost=25 --drills 0.7 --drill-meters 40 "
        "--gamma 0.998 --gae-lambda 0.975",
    ),
    Stage(
        "10-branch-2",
        8_000_000,
        f"{LARGE_BATCHES} --reward-option fall_cost=25 --drills 0.8 --drill-meters 55 --drill-falls 0.2 "
        "--gamma 0.9985 --gae-lambda 0.985 --learning-rate 3e-4",
    ),
    Stage(
        "10-branch-3",
        8_000_000,
        f"{LARGE_BATCHES} --reward-option fall_cost=30 --drills 0.8 --drill-meters 55 "
        "--gamma 0.9985 --gae-lambda 0.98",
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
    """Do all steps that are not done yet. Returns the exit code of the first one that fails, else 0."""
    policy = out / "policy.safetensors"
    check_outputs({"--out": policy})
    made = steps(out, seed, budget)
    if code := run_steps(made, out):
        return code
    tensors, metadata = load_checkpoint(made[-1].output)
    save_checkpoint(policy, tensors, {**metadata, "made_by": f"demos/train_policy.py --seed {seed}"})
    print(f"{policy}: judge it with qwop-eval {policy}")
    return 0


def steps(out: Path, seed: int, budget: float) -> list[Step]:
    """Return all steps, in order."""

    def shorter(stages: Sequence[Stage]) -> list[Stage]:
        return [replace(stage, steps=round(budget * stage.steps)) for stage in stages]

    made = trainings(shorter(STAGES), None, out, seed)
    search = replace(
        SEARCH,
        policy=made[-1].output,
        seed=seed,
        out=out / "search",
        lookahead_episodes=max(1, round(budget * SEARCH.lookahead_episodes)),
        passes=max(1, round(budget * SEARCH.passes)),
    )
    made += search_steps(search)[:-1]
    made += trainings(shorter(SAFE_STAGES), made[-1].output, out, seed)
    made += mean_of_branches(shorter(BRANCHES), made[-1].output, out, seed)
    return made + critic_steps(made[-1].output, out, budget)


def trainings(stages: Sequence[Stage], before: Path | None, out: Path, seed: int) -> list[Step]:
    """Return a training for each stage, which starts from the one before."""
    made: list[Step] = []
    for stage in stages:
        made.append(training(stage, before, out / f"{stage.name}.safetensors", seed))
        before = made[-1].output
    return made


def training(stage: Stage, before: Path | None, output: Path, seed: int) -> Step:
    """Return the training of a stage. It starts from the policy `before`, if any."""
    words = f"qwop-finetune {stage.flags} {EVERY_STAGE} --seed {seed} --total-steps {stage.steps}"
    if before is not None:
        words += f" --init {{}} {LATER_STAGES}"
    return Training(qwop_finetune, f"{words} --out OUT", [before] if before else [], output)


def mean_of_branches(stages: Sequence[Stage], before: Path, out: Path, seed: int) -> list[Step]:
    """Return a training with each stage from one policy, then the mean of all their weights, and its own."""
    branches = [
        training(stage, before, out / f"{stage.name}.safetensors", seed + branch)
        for branch, stage in enumerate(stages, 1)
    ]
    averaged = [before, *(step.output for step in branches)]
    words = f"qwop-policy average {'{} ' * len(averaged)}--out OUT"
    return [*branches, Step(qwop_policy, words, averaged, out / "mean.safetensors")]


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


if __name__ == "__main__":
    raise SystemExit(main())
