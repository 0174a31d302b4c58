"""Train the benchmark's reference learners, tune them alike, and test each on ten training seeds.

    python benchmarks/reference.py --extend --seeds 10                  # what the stored results lack
    python benchmarks/reference.py --extend --learners bc ppo --seeds 3 # of some learners
    python benchmarks/reference.py --extend --all-tasks --seeds 3       # scores of stored results elsewhere
    python benchmarks/reference.py --report                             # only the tables and the profiles

Each learner has three settings. Each is trained once on a quarter of the budget (seed 1000) and scored on the
tuning episodes, 0 to 99. The best one is trained with every seed on the whole budget and scored on the test
episodes, 100 to 199, with its best actions: on the task, and on all other tasks. Nothing is chosen by these.
One result of one training is one file in --tasks (default: runs/reference), so the same command continues
after a stop, and --ray HOST:PORT trains on a cluster. Without --extend it begins anew, once
benchmarks/results/reference-TASK.json is removed. --decisions is the budget; learners from data alone
make no decision in the game.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from studies import COLORS, EXPERT, insert_tables, table_mark

from qwop_benchmark import TASKS, TEST_SEEDS, TUNING_SEEDS, Task, play, task_of, tier_episodes
from qwop_benchmark.plays import Scores
from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks
from qwop_datasets import write_dataset
from qwop_evaluation import (
    CheckpointPlayer,
    bootstrap_interval,
    interquartile_mean,
)
from qwop_stride.run import MODULES

PROGRAM = "reference"
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmark" / "reference.md"
PICTURES = ROOT / "docs" / "benchmark"
TUNING_SEED, TUNING_SHARE = 1000, 0.25
D3RLPY_STEPS, D3RLPY_BATCH, D3RLPY_FRAME_SKIP = 5_000, 256, 2

REWARD = "--reward stride --reward-option knee_seconds=0"
FAST = (
    "--reward stride --reward-option power=1.6 --reward-option fall_cost=10 "
    "--reward-option knee_seconds=0.25 --demo-starts 0.4"
)
CLONING = "--play-every 0 --batch-size 512 --epochs 30 --patience 8 --validation 0.1 --threads 1"
CLONE = "--frame-skip 2 --learning-rate 1e-3"


@dataclass(frozen=True)
class Learner:
    """A way of training, with the settings that are tried."""

    title: str
    settings: tuple[str, ...]
    """Flags of each; for sb3, cleanrl and d3rlpy's BC the learning rate, for its CQL alpha."""
    demonstrations: str = ""
    """Offline tier that it sees."""
    decisions: bool = True
    """Whether it plays in the game."""
    clone: bool = False
    """Whether it starts from a clone of its demonstrations, whose seconds count."""
    command: str = "qwop-finetune"
    """Or qwop-bc, sb3, cleanrl, d3rlpy."""
    flags: str = ""


def offline(tier: str) -> Learner:
    """Behavioral cloning of a tier."""
    skip = 4 if tier in ("scrape", "medium") else 2
    settings = (
        f"--frame-skip {skip} --learning-rate 5e-4",
        f"--frame-skip {skip} --learning-rate 1e-3",
        f"--frame-skip {1 if skip == 2 else 2} --learning-rate 1e-3",
    )
    return Learner(f"BC of `{tier}`", settings, tier, decisions=False, command="qwop-bc", flags=CLONING)


def rates(*values: str) -> tuple[str, ...]:
    return tuple(f"--learning-rate {value}" for value in values)


def d3rlpy(algorithm: str, tier: str) -> Learner:
    """A learner of d3rlpy on a tier. It needs an environment of its own, see docs/benchmark/reference.md."""
    settings = ("2.5e-4", "5e-4", "1e-3") if algorithm == "BC" else ("0.3", "1", "4")
    title = f"d3rlpy's discrete {algorithm} of `{tier}`"
    return Learner(title, settings, tier, decisions=False, command="d3rlpy", flags=algorithm)


LEARNERS: dict[str, Learner] = {
    "bc": offline("expert"),
    "ppo": Learner("PPO", rates("3e-4", "6e-4", "1e-3"), flags=f"{REWARD} --threads 1"),
    "ppo-clone": Learner(
        "PPO from a clone of `expert`",
        rates("1e-4", "3e-4", "6e-4"),
        "expert",
        clone=True,
        flags=f"{FAST} --demo-coef 0.1 --threads 1",
    ),
    "cleanrl": Learner("CleanRL's loop", ("2.5e-4", "5e-4", "1e-3"), command="cleanrl", flags=REWARD),
    "sb3": Learner("Stable-Baselines3's PPO", ("3e-4", "6e-4", "1e-3"), command="sb3", flags=REWARD),
    "ddqn-clone": Learner(
        "Double DQN from a clone of `expert`",
        rates("1.25e-4", "2.5e-4", "5e-4"),
        "expert",
        clone=True,
        flags=f"--algorithm ddqn {FAST} --steps-per-update 64 --batch-size 256 --threads 1",
    ),
    "pqn-clone": Learner(
        "PQN from a clone of `expert`",
        rates("1.5e-4", "3e-4", "6e-4"),
        "expert",
        clone=True,
        flags=f"--algorithm pqn {FAST} --threads 1",
    ),
    "bc-mixed": offline("mixed"),
    "bc-medium": offline("medium"),
    "bc-search": offline("search"),
    "bc-scrape": offline("scrape"),
    "dqn": Learner("DQN", rates("1.25e-4", "2.5e-4", "5e-4"), flags=f"--algorithm dqn {REWARD} --threads 1"),
    "ddqn": Learner(
        "Double DQN", rates("1.25e-4", "2.5e-4", "5e-4"), flags=f"--algorithm ddqn {REWARD} --threads 1"
    ),
    "pqn": Learner("PQN", rates("2.5e-4", "5e-4", "1e-3"), flags=f"--algorithm pqn {REWARD} --threads 1"),
    "expert-iteration": Learner(
        "Expert iteration, search not counted",
        rates("3e-4", "6e-4", "1e-3"),
        flags=f"--algorithm expert-iteration {REWARD} --threads 1",
    ),
    "dagger": Learner(
        "DAgger, asking the policy that played `expert`",
        rates("5e-4", "1e-3", "2e-3"),
        "expert",
        command="qwop-bc",
        flags="--method dagger --frame-skip 1 --play-every 0 --batch-size 512 --threads 1",
    ),
    "d3rlpy-bc": d3rlpy("BC", "expert"),
    "d3rlpy-cql": d3rlpy("CQL", "expert"),
    **{f"d3rlpy-bc-{tier}": d3rlpy("BC", tier) for tier in ("mixed", "medium", "scrape", "search")},
    **{f"d3rlpy-cql-{tier}": d3rlpy("CQL", tier) for tier in ("mixed", "medium", "scrape", "search")},
}


@dataclass(frozen=True)
class ReferenceConfig:
    """Train the benchmark's reference learners, tune them alike, and test each on ten training seeds."""

    task: str = "100m-v1"
    """Task to tune and score on. All learners train on whole runs of 100 m."""
    learners: tuple[str, ...] = ()
    """Learners to train, in this order. Default: all."""
    seeds: int = 10
    """Training seeds, 0 and up."""
    decisions: int = 500_000
    """Budget of decisions in the game."""
    report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Train nothing: write the results, the table and the profiles of what is done."""
    extend: tyro.conf.FlagCreatePairsOff[bool] = False
    """Begin with the results that are stored in benchmarks/results, and train only what is missing there."""
    all_tasks: tyro.conf.FlagCreatePairsOff[bool] = False
    """Score results without scores on the other tasks there, too: from the checkpoint in --tasks, else after
    training again."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        for name in self.learners:
            if name not in LEARNERS:
                raise CommandError(f"--learners {name}: choose from {', '.join(LEARNERS)}")
        for name in ("seeds", "decisions"):
            if getattr(self, name) < 1:
                raise CommandError(f"--{name} {getattr(self, name)}: expected 1 or more")

    @property
    def folder(self) -> Path:
        """Folder of results and checkpoints."""
        return self.cluster.tasks or Path("runs/reference")


@dataclass(frozen=True)
class Training:
    """One training of one learner."""

    learner: str
    setting: int
    seed: int
    decisions: int
    tuning: bool

    @property
    def name(self) -> str:
        """Name of its files."""
        kind = f"tune-{self.setting}" if self.tuning else f"seed-{self.seed}"
        return f"{self.learner}-{kind}"


# ---- one training ----------------------------------------------------------------------------------------


def train(shared: tuple[str, Path], training: Training) -> dict[str, Any]:
    """Train once and score it. Returns the scores of the episodes and the CPU seconds of training."""
    name, folder = shared
    learner, task = LEARNERS[training.learner], task_of(name)
    before = os.times()
    player = trained(training, folder)
    after = os.times()
    spent = sum(after[:4]) - sum(before[:4])
    result = {
        "learner": training.learner,
        "setting": learner.settings[training.setting],
        "seed": training.seed,
        "decisions": training.decisions if learner.decisions else 0,
        "cpu_seconds": round(spent, 1),
        **scored(task, player, TUNING_SEEDS if training.tuning else TEST_SEEDS),
    }
    if not training.tuning:
        result["tasks"] = tested(player, {task.id: result})
    return result


def trained(training: Training, folder: Path) -> Scores:
    """Train once. Returns the policy."""
    torch.set_num_threads(1)
    learner = LEARNERS[training.learner]
    out = checkpoint_path(training, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    if learner.command == "cleanrl":
        return with_cleanrl(learner, training)
    if learner.command == "sb3":
        return with_sb3(learner, training)
    if learner.command == "d3rlpy":
        return with_d3rlpy(learner, training, tier_file(folder, learner.demonstrations))
    for command in commands(learner, training, folder, out):
        run(command, out.with_suffix(".log"))
    return CheckpointPlayer(out)


def tested_again(folder: Path, training: Training) -> dict[str, dict[str, Any]]:
    """Test a training that is done on all tasks, from its checkpoint or after training again."""
    torch.set_num_threads(1)
    out = checkpoint_path(training, folder)
    return tested(CheckpointPlayer(out) if out.exists() else trained(training, folder), {})


def checkpoint_path(training: Training, folder: Path) -> Path:
    return folder / "checkpoints" / f"{training.name}.safetensors"


def scored(task: Task, player: Scores, seeds: Sequence[int]) -> dict[str, Any]:
    """Play episodes of a task with the best actions."""
    episodes = play(task, player, list(seeds))
    times = [task.seconds(episode.frames) for episode in episodes if episode.finished]
    return {
        "score": float(np.mean([episode.score for episode in episodes])),
        "finished": sum(episode.finished for episode in episodes) / len(episodes),
        "median_seconds": float(np.median(times)) if times else None,
        "scores": [episode.score for episode in episodes],
    }


def tested(player: Scores, known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return score, share of finishes and median time of the test episodes of every task.

    Args:
        player: the policy.
        known: results by task, of those that need not be played.
    """
    figures = {name: known.get(name) or scored(task, player, TEST_SEEDS) for name, task in TASKS.items()}
    kept = ("score", "finished", "median_seconds")
    return {name: {key: result[key] for key in kept} for name, result in figures.items()}


def commands(learner: Learner, training: Training, folder: Path, out: Path) -> list[list[str]]:
    """Return the commands of a training, in order."""
    made: list[list[str]] = []
    seed = ["--seed", str(training.seed)]
    setting = [*shlex.split(learner.flags), *shlex.split(learner.settings[training.setting])]
    data = str(tier_file(folder, learner.demonstrations)) if learner.demonstrations else ""
    clone = str(out.with_suffix(".clone"))
    if learner.clone:
        made.append(["qwop-bc", data, "--out", clone, "--force", *shlex.split(f"{CLONING} {CLONE}"), *seed])
    if learner.command == "qwop-bc":
        command = ["qwop-bc", data, "--out", str(out), "--force", *setting, *seed]
        if "dagger" in learner.flags:
            episodes = max(1, training.decisions // 10 // 1400)  # ten rounds of runs of 1,400 frames
            command += ["--expert", str(EXPERT), "--dagger.episodes", str(episodes)]
        return [*made, command]
    command = ["qwop-finetune", "--out", str(out), "--force", *setting, *seed]
    command += ["--total-steps", str(training.decisions), "--device", "cpu"]
    if learner.clone:
        command += ["--init", clone, "--demos", data, "--on-collapse", "ignore"]
    return [*made, command]


def run(command: Sequence[str], log: Path) -> None:
    """Run a command of this project. Raises CommandError if it fails."""
    code = (
        f"import sys; from {MODULES[command[0]]} import main; sys.argv[0] = {command[0]!r}; sys.exit(main())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("a", encoding="utf-8") as lines:
        lines.write(f"$ {shlex.join(command)}\n")
        lines.flush()
        status = subprocess.run(
            [sys.executable, "-c", code, *command[1:]], stdout=lines, stderr=lines, env=environment
        )
    if status.returncode:
        raise CommandError(f"{shlex.join(command)} ended with exit code {status.returncode}: see {log}")


def tier_file(folder: Path, tier: str) -> Path:
    """Write the training split of an offline tier, once."""
    path = folder / "checkpoints" / f"{tier}.h5"
    if not path.exists():
        write_dataset(path, tier_episodes(tier, "train"))
    return path


@dataclass
class NetworkPlayer:
    """A function from features to logits as a player of the benchmark."""

    logits: Callable[[torch.Tensor], torch.Tensor]
    frame_skip: int = 4
    action_set: str = "distinct"
    samples: bool = True

    @torch.inference_mode()
    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        return self.logits(torch.as_tensor(features)).double().numpy()


def training_games(flags: str, num_envs: int) -> Any:
    """Make the games that the PPO of this project trains in with these flags."""
    from qwop_finetune import make_environment, parse

    return make_environment(parse(shlex.split(flags)).environment, num_envs)


def with_cleanrl(learner: Learner, training: Training) -> NetworkPlayer:
    """Train with CleanRL's loop, on the same games; batch, discount and entropy bonus are this project's."""
    import cleanrl_style

    from qwop_rl_core.ppo import PPOConfig

    ours = PPOConfig()
    games = training_games(learner.flags, ours.num_envs)
    agent = cleanrl_style.train(
        games,
        training.decisions,
        ours.rollout_length,
        ours.epochs,
        ours.minibatch_size,
        256,
        float(learner.settings[training.setting]),
        ours.gamma,
        ours.gae_lambda,
        ours.clip,
        ours.entropy_coef,
        ours.max_grad_norm,
        training.seed,
        lambda *_: None,
        lambda _: None,
    )
    games.close()
    return NetworkPlayer(agent.actor)


def with_sb3(learner: Learner, training: Training) -> NetworkPlayer:
    """Train Stable-Baselines3's PPO on the same games; batch, discount and bonus are this project's."""
    from knee_scraping import sb3_games
    from stable_baselines3 import PPO

    from qwop_rl_core.ppo import PPOConfig

    ours = PPOConfig()
    games = sb3_games(learner.flags, training.seed, ours.num_envs)
    model = PPO(
        "MlpPolicy",
        games,
        learning_rate=float(learner.settings[training.setting]),
        n_steps=ours.rollout_length,
        batch_size=ours.minibatch_size,
        n_epochs=ours.epochs,
        gamma=ours.gamma,
        ent_coef=ours.entropy_coef,
        policy_kwargs={"net_arch": [256, 256]},
        seed=training.seed,
        device="cpu",
    )
    model.learn(training.decisions)
    games.close()
    policy: Any = model.policy
    return NetworkPlayer(lambda features: policy.get_distribution(features).distribution.logits)


def with_d3rlpy(learner: Learner, training: Training, data: Path) -> NetworkPlayer:
    """Train d3rlpy's discrete BC or CQL on a tier: this project's features, network size and reward."""
    try:
        d3rlpy: Any = importlib.import_module("d3rlpy")
    except ImportError as error:
        raise CommandError(f"d3rlpy does not import ({error}): see docs/benchmark/reference.md") from None
    from qwop_finetune.demonstrations import load_demonstrations

    setting = float(learner.settings[training.setting])
    d3rlpy.seed(training.seed)
    shared: dict[str, Any] = {
        "batch_size": D3RLPY_BATCH,
        "observation_scaler": d3rlpy.preprocessing.StandardObservationScaler(),
        "encoder_factory": d3rlpy.models.VectorEncoderFactory([256, 256]),
    }
    if learner.flags == "BC":
        config: Any = d3rlpy.algos.DiscreteBCConfig(learning_rate=setting, beta=0.0, **shared)
    else:
        config = d3rlpy.algos.DiscreteCQLConfig(
            learning_rate=3e-4, alpha=setting, gamma=0.995, target_update_interval=1000, **shared
        )
    demonstrations = load_demonstrations(data, D3RLPY_FRAME_SKIP, "distinct")
    columns = demonstrations.transitions("stride", {"knee_seconds": "none"})  # else scraping would cut runs
    dataset = d3rlpy.dataset.MDPDataset(
        columns.observation,
        columns.action,
        columns.reward,
        columns.terminated,
        columns.truncated,
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=9,
    )
    learned = config.create(device="cpu:0")
    steps = round(D3RLPY_STEPS * (TUNING_SHARE if training.tuning else 1))
    learned.fit(
        dataset,
        n_steps=steps,
        n_steps_per_epoch=steps,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    modules = learned.impl.modules
    network = modules.imitator if learner.flags == "BC" else modules.q_funcs[0]
    network.eval()

    def logits(features: torch.Tensor) -> torch.Tensor:
        scaled = learned.observation_scaler.transform(features)
        out = network(scaled)
        return out.logits if learner.flags == "BC" else out.q_value

    return NetworkPlayer(logits, frame_skip=D3RLPY_FRAME_SKIP)


# ---- all trainings, and their report -----------------------------------------------------------------------


def kept(config: ReferenceConfig) -> KeptResults[dict[str, Any]]:
    """The results on disk, one file per training."""

    def save(path: Path, result: dict[str, Any]) -> None:
        path.write_text(json_text(result) + "\n", encoding="utf-8")

    return KeptResults(
        config.folder,
        {"task": config.task, "decisions": config.decisions},
        save=save,
        load=lambda path: json.loads(path.read_text(encoding="utf-8")),
    )


def carry_out(config: ReferenceConfig, results: KeptResults[dict[str, Any]], tasks: list[Training]) -> None:
    options = replace(config.cluster, tasks=config.folder)
    names = [task.name for task in tasks]
    shared = config.task, config.folder.resolve()
    for index, result in map_tasks(
        train, shared, tasks, options=options, kept=results, names=names, unit="training"
    ):
        score, spent = result["score"], result["cpu_seconds"]
        print(
            f"{names[index]:28} score {score:7.2f}, {100 * result['finished']:3.0f} %, {spent:.0f} CPU s",
            flush=True,
        )


def best_setting(name: str, results: KeptResults[dict[str, Any]], config: ReferenceConfig) -> int:
    """Return the setting of the learner's trainings that are done, else the best one in tuning."""
    settings = LEARNERS[name].settings
    done = collected(results).get(name)
    if done:
        return settings.index(done[0]["setting"])
    tuned = round(TUNING_SHARE * config.decisions)
    tunings = [Training(name, i, TUNING_SEED, tuned, True) for i in range(len(settings))]
    carry_out(config, results, tunings)
    return int(np.argmax([results.read(tuning.name)["score"] for tuning in tunings]))


def reference(config: ReferenceConfig) -> None:
    task_of(config.task)
    results = kept(config)
    if config.extend:
        restore(config, results)
    elif lost := trainings_of_stored(config) - {path.stem for path in results.folder.glob("*.json")}:
        raise CommandError(
            f"{stored_path(config)} has {len(lost)} trainings that {results.folder} lacks: begin with them "
            "(--extend), or remove the file"
        )
    if not config.report:
        for name in config.learners or trainable():
            best = best_setting(name, results, config)
            seeds = range(config.seeds)
            trainings = [Training(name, best, seed, config.decisions, False) for seed in seeds]
            carry_out(config, results, trainings)
            if config.all_tasks:
                test_on_all_tasks(config, results, trainings)
    report(config, results)


def trainable() -> list[str]:
    """Return the names of all learners, without those of d3rlpy where it is not installed."""
    if importlib.util.find_spec("d3rlpy") is not None:
        return list(LEARNERS)
    print("d3rlpy is not installed: without its learners (docs/benchmark/reference.md)", file=sys.stderr)
    return [name for name, learner in LEARNERS.items() if learner.command != "d3rlpy"]


def trainings_of_stored(config: ReferenceConfig) -> set[str]:
    """Return the names of the tested trainings in benchmarks/results."""
    path = stored_path(config)
    if not path.exists():
        return set()
    trainings: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))["trainings"]
    return {f"{name}-seed-{result['seed']}" for name, results in trainings.items() for result in results}


def test_on_all_tasks(
    config: ReferenceConfig, results: KeptResults[dict[str, Any]], trainings: list[Training]
) -> None:
    """Add the scores on all tasks to those results that lack them. All other figures stay."""
    lacking = [training for training in trainings if "tasks" not in results.read(training.name)]
    options = replace(config.cluster, tasks=config.folder)
    folder = config.folder.resolve()
    for index, found in map_tasks(tested_again, folder, lacking, options=options, unit="training"):
        name = lacking[index].name
        result = results.read(name)
        results.write(name, {**result, "tasks": found})
        repeated, before = found[config.task]["score"], result["score"]
        same = "as before" if repeated == before else f"stored {before:.2f}: another machine or release"
        print(f"{name:28} {config.task} {repeated:.2f}, {same}", flush=True)


def stored_path(config: ReferenceConfig) -> Path:
    return RESULTS / f"reference-{config.task}.json"


def restore(config: ReferenceConfig, results: KeptResults[dict[str, Any]]) -> None:
    """Write the stored results of a task as those of trainings that are done.

    Raises:
        CommandError: none are stored, or their budget is another one.
    """
    path = stored_path(config)
    if not path.exists():
        raise CommandError(f"--extend: {path} does not exist")
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["decisions"] != config.decisions:
        raise CommandError(f"--extend: {path} has a budget of {stored['decisions']} decisions")
    for kind in ("tuning", "trainings"):
        for name, trainings in stored.get(kind, {}).items():
            for result in trainings:
                setting = LEARNERS[name].settings.index(result["setting"])
                training = Training(name, setting, result["seed"], result["decisions"], kind == "tuning")
                if not results.has(training.name):
                    results.write(training.name, result)


def collected(results: KeptResults[dict[str, Any]], kind: str = "seed") -> dict[str, list[dict[str, Any]]]:
    """Return the trainings of each learner: the tested ones, or those of the tuning."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in LEARNERS:
        paths = results.folder.glob(f"{name}-{kind}-*.json")
        files = sorted(paths, key=lambda file: int(file.stem.split("-")[-1]))
        if files:
            found[name] = [results.load(path) for path in files]
    return found


def report(config: ReferenceConfig, results: KeptResults[dict[str, Any]]) -> None:
    """Write benchmarks/results/reference-TASK.json, the table of the page, and the performance profiles."""
    found = collected(results)
    if not found:
        raise CommandError(f"{results.folder}: no training is done")
    stored = {
        "task": config.task,
        "decisions": config.decisions,
        "machine": "shared AMD EPYCs, AVX-512 or AVX2, and a shared Intel Xeon; one thread each",
        "trainings": found,
        "tuning": collected(results, "tune"),
    }
    RESULTS.mkdir(exist_ok=True)
    stored_path(config).write_text(json_text(stored) + "\n", encoding="utf-8")
    print(results_table(stored))
    print(tasks_table(stored))
    if PAGE.exists() and table_mark(config.task) in (text := PAGE.read_text(encoding="utf-8")):
        PAGE.write_text(with_table(text, stored), encoding="utf-8")
        draw_profiles(stored, PICTURES / f"profiles-{config.task}.png")


def with_table(text: str, stored: dict[str, Any]) -> str:
    """Insert the tables of stored results between their marks."""
    task = stored["task"]
    return insert_tables(text, {task: results_table(stored), f"{task}, all tasks": tasks_table(stored)})


def results_table(stored: dict[str, Any]) -> str:
    """Return the Markdown table of stored results."""
    head = "learner | sees | decisions | trainings | score, IQM | finished | median | CPU s | setting"
    rows = [head, " | ".join("---" for _ in head.split("|"))]
    for name, trainings in by_score(stored):
        learner = LEARNERS[name]
        scores = np.array([t["score"] for t in trainings])
        finished = np.array([t["finished"] for t in trainings])
        times = [t["median_seconds"] for t in trainings if t["median_seconds"] is not None]
        amount = trainings[0]["decisions"]
        rows.append(
            " | ".join(
                [
                    learner.title,
                    f"`{learner.demonstrations}`" if learner.demonstrations else "-",
                    f"{amount / 1e6:g} M" if amount else "-",
                    str(len(trainings)),
                    interval(scores, 1),
                    interval(100 * finished, 0) + " %",
                    f"{np.median(times):.1f} s" if times else "-",
                    f"{np.mean([t['cpu_seconds'] for t in trainings]):.0f}",
                    f"`{trainings[0]['setting']}`",
                ]
            )
        )
    return "\n".join(f"| {row} |" for row in rows)


def tasks_table(stored: dict[str, Any]) -> str:
    """Return the Markdown table of the scores on all tasks, of those trainings that have them."""
    head = " | ".join(["learner", "trainings", *(f"`{task}`" for task in TASKS)])
    rows = [head, " | ".join("---" for _ in head.split("|"))]
    for name, trainings in by_score(stored):
        everywhere = [training["tasks"] for training in trainings if "tasks" in training]
        if everywhere:
            scores = [iqm([tasks[task] for tasks in everywhere]) for task in TASKS]
            cells = [LEARNERS[name].title, str(len(everywhere)), *(f"{score:.1f}" for score in scores)]
            rows.append(" | ".join(cells))
    return "\n".join(f"| {row} |" for row in rows)


def by_score(stored: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the trainings of each learner, the best learner first."""
    return sorted(stored["trainings"].items(), key=lambda item: -iqm(item[1]))


def iqm(trainings: Sequence[dict[str, Any]]) -> float:
    return interquartile_mean(np.array([t["score"] for t in trainings]))


def interval(values: NDArray[Any], digits: int) -> str:
    """An interquartile mean over the trainings with its bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{interquartile_mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def profile(scores: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of runs with a score above tau (Agarwal et al. 2021, equation 1): [R] scores, [K] taus -> [K]."""
    return (scores[None, :] > at[:, None]).mean(axis=1)


def draw_profiles(stored: dict[str, Any], path: Path) -> None:
    """Draw the share of test episodes of all trainings that score more than tau, with 95 % bands."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    at = np.linspace(-5.0, 110.0, 231)
    figure, axes = plt.subplots(2, figsize=(11, 9.2), constrained_layout=True)
    for axis, plays in zip(axes, (False, True), strict=True):
        drawn = [
            (name, trainings) for name, trainings in by_score(stored) if LEARNERS[name].decisions is plays
        ]
        for number, (name, trainings) in enumerate(drawn):
            scores = np.array([t["scores"] for t in trainings])  # [trainings, episodes]
            rows = np.random.default_rng(0).integers(0, len(scores), (500, len(scores)))
            bands = np.array([profile(scores[chosen].reshape(-1), at) for chosen in rows])
            low, high = np.percentile(bands, [2.5, 97.5], axis=0)
            color, dashes = COLORS[number % len(COLORS)], ("-", "--", ":")[number // len(COLORS)]
            title = LEARNERS[name].title.replace("`", "")
            axis.plot(at, profile(scores.reshape(-1), at), color=color, linestyle=dashes, label=title)
            axis.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set_title("learners that play" if plays else "learners from data alone", loc="left")
        axis.set_ylabel("share of episodes with a higher score")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(-5, 110)
        axis.set_ylim(0, 1.01)
        axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1].set_xlabel("score of an episode: 0 random keys, 50 a finish, 100 the human record")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM,
        lambda: reference(parse_config(PROGRAM, ReferenceConfig, arguments, description=__doc__)),
        ValueError,
    )


if __name__ == "__main__":
    raise SystemExit(main())
