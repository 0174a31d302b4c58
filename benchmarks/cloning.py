"""Measure cloning: the effect of the number of demonstrations, balancing, the frame skip and the method.

    python benchmarks/cloning.py [TABLE ...] [--seeds 3] [--folder runs/cloning] [--quick]
    python benchmarks/cloning.py --ray HOST:PORT [--tasks FOLDER]    trainings as tasks on a Ray cluster
    python benchmarks/cloning.py --speed        epochs/s, compared with imitation's own loop, JSON

Tables: demos, balance, skip, methods (default: all). Each arm is a `qwop-bc` command, which is printed. It is
judged under protocol P (docs/guides/evaluation.md), 100 episodes, argmax and sampled. Arms that are already
in the folder are not trained again. If a training does not use all demonstrations, its seed also draws which
ones.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
import tyro
from studies import EXPERT, kept_results

from qwop_bc import CloneConfig, Cloning, agreement, split_decisions
from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_cli.cluster import ClusterOptions, map_tasks
from qwop_cli.writing import write_whole
from qwop_datasets import DatasetReader, Decisions, load_decisions, write_compact_dataset
from qwop_evaluation import CheckpointPlayer, bootstrap_interval, play, summarize
from qwop_game import ACTION_SETS, KEY_NAMES
from qwop_rl_core import ActorCritic, Policy

PROGRAM = "cloning"
DEMOS = Path(__file__).parents[1] / "demos" / "demos.h5"
DEMONSTRATIONS = 100
EPISODES = 100
# The settings of `make run`. With fewer demonstrations, smaller batches and more epochs give as many gradient
# steps, or half of them. Early stopping ends some trainings sooner.
COMMON = "--learning-rate 1e-3 --threads 1"
MANY = f"--batch-size 512 --epochs 20 {COMMON}"
FEW = f"--batch-size 128 {COMMON}"
EPOCHS_OF_FEW = {1: 200, 3: 120, 10: 50, 30: 20}
ADVERSARIAL = "--threads 1 --adversarial.reports 5 --adversarial.steps"
EXPERT_FRAME_SKIP = 1
"""Frame skip of EXPERT. DAgger's clone must have the frame skip of its expert."""

Table = Literal["demos", "balance", "skip", "methods"]
Arm = tuple[int, int, str]  # demonstrations, frame skip, further arguments of qwop-bc


def arms(table: Table, quick: bool) -> dict[str, Arm]:
    """Return the arms of a table by name. EXPERT is expert.safetensors, CLONE the seed's own clone."""
    everything: Arm = (DEMONSTRATIONS, 2, MANY)
    if table == "demos":
        few = {f"{n} demos": (n, 2, f"{FEW} --epochs {epochs}") for n, epochs in EPOCHS_OF_FEW.items()}
        found: dict[str, Arm] = {**few, "100 demos": everything}
    elif table == "balance":
        found = {"100 demos": everything}
        found |= {f"balance {b:g}": (DEMONSTRATIONS, 2, f"{MANY} --balance {b:g}") for b in (0.5, 1.0)}
    elif table == "skip":
        found = {
            "frame skip 1": (DEMONSTRATIONS, 1, MANY),
            "100 demos": everything,
            "frame skip 4": (DEMONSTRATIONS, 4, MANY),
        }
    else:
        dagger = f"--method dagger --expert EXPERT --dagger.rounds 6 --batch-size 512 {COMMON}"
        found = {
            "10 demos": (10, 2, f"{FEW} --epochs {EPOCHS_OF_FEW[10]}"),
            "100 demos": everything,
            "dagger, 1 demo": (1, EXPERT_FRAME_SKIP, dagger),
            "gail": (DEMONSTRATIONS, 2, f"--method gail {ADVERSARIAL} 200000"),
            "airl": (DEMONSTRATIONS, 2, f"--method airl {ADVERSARIAL} 200000"),
            "gail from the clone": (DEMONSTRATIONS, 2, f"--method gail --init CLONE {ADVERSARIAL} 100000"),
            "airl from the clone": (DEMONSTRATIONS, 2, f"--method airl --init CLONE {ADVERSARIAL} 100000"),
        }
    if quick:
        tiny = "--epochs 1", "--dagger.rounds 2 --dagger.episodes 2", "--adversarial.steps 8192"

        def shortened(more: str) -> str:
            words = more.split()
            kept = [w for i, w in enumerate(words) if "--epochs" not in (w, words[i - 1] if i else "")]
            which = 1 if "dagger" in words else 2 if "--method" in words else 0
            return " ".join([*kept, tiny[which], "--play-episodes 2"])

        return {name: (min(n, 3), skip, shortened(more)) for name, (n, skip, more) in found.items()}
    return found


def dataset(folder: Path, count: int, seed: int) -> Path:
    """Return the path of the bundled demonstrations, or of `count` of them, drawn with the seed."""
    if count >= DEMONSTRATIONS:
        return DEMOS
    path = folder / f"demos-{count}-{seed}.h5"
    if not path.exists():
        with DatasetReader(DEMOS) as reader:
            drawn = np.random.default_rng(seed).permutation(len(reader))[:count]
            episodes = [reader[int(i)] for i in drawn]

        def write(part: Path) -> None:
            write_compact_dataset(part, episodes)

        write_whole(path, write)
    return path


def decisions_of(path: Path, frame_skip: int) -> list[Decisions]:
    return load_decisions(path, frame_skip)[1]


def stem_of(name: str) -> str:
    """Return the beginning of the names of an arm's files."""
    return name.replace(",", "").replace(" ", "-").replace(".", "_")


def train(shared: tuple[Path, int], training: tuple[str, Arm, int]) -> dict[str, Any]:
    """Train and judge one arm, or read its figures if they are already in the folder."""
    from qwop_bc.cli import main as qwop_bc

    (folder, episodes), (name, arm, seed) = shared, training
    count, frame_skip, more = arm
    stem = folder / f"{stem_of(name)}-{seed}"
    figures_file, out = stem.with_suffix(".json"), stem.with_suffix(".safetensors")
    if figures_file.exists():
        return json.loads(figures_file.read_text(encoding="utf-8"))
    path = dataset(folder, count, seed)
    words = [str(path), "--frame-skip", str(frame_skip), "--seed", str(seed), *more.split()]
    words = [
        {"EXPERT": str(EXPERT), "CLONE": str(folder / f"100-demos-{seed}.safetensors")}.get(w, w)
        for w in words
    ]
    words += ["--out", str(out), "--force"]
    print(f"$ {shlex.join(['qwop-bc', *words])}", file=sys.stderr, flush=True)
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if code := qwop_bc(words):
            raise CommandError(f"{shlex.join(['qwop-bc', *words])} ended with exit code {code}")
    seconds = time.process_time() - began
    stem.with_suffix(".txt").write_text(printed.getvalue(), encoding="utf-8")

    decisions = decisions_of(path, frame_skip)
    split = split_decisions(decisions, CloneConfig().validation, seed)
    policy = Policy.load(out)
    assert isinstance(policy.network, ActorCritic)
    held_out = agreement(policy.network, split.validation_features, split.validation_actions, "distinct")
    player = CheckpointPlayer(out)
    figures: dict[str, Any] = {"arm": name, "seed": seed, "cpu_seconds": round(seconds, 1)}
    for sample, prefix in ((False, "argmax"), (True, "sampled")):
        runs = summarize(play(player, range(1000, 1000 + episodes), sample))
        figures[prefix] = {
            "finish_rate": runs.finish_rate,
            "median_time_s": runs.median_time if runs.finished else None,
            "mean_distance_m": runs.mean_distance,
            "knee_near": runs.gait.knee_near,
            "upright": runs.gait.upright,
        }
    figures |= {
        "kept": sum(d.kept * len(d) for d in decisions) / sum(map(len, decisions)),
        "loss": held_out.loss,
        "accuracy": held_out.accuracy,
        "f1": held_out.key_f1,
        "epoch": policy.metadata["training"]["best_epoch"],
    }
    figures_file.write_text(json_text(figures), encoding="utf-8")
    return figures


def interval(values: Sequence[float], text: Callable[[float], str]) -> str:
    """Format the mean over seeds and its bootstrap interval."""
    mean = text(float(np.mean(values)))
    if len(values) < 2:
        return mean
    low, high = bootstrap_interval(np.array(values), lambda scores: float(scores.mean()))
    return f"{mean} ({text(low)} to {text(high)})"


def row(name: str, results: Sequence[dict[str, Any]]) -> list[str]:
    def percent(x: float) -> str:
        return f"{100 * x:.0f}"

    def mean(*keys: str) -> float:
        values: list[Any] = [functools.reduce(lambda d, k: d[k], keys, r) for r in results]
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else float("nan")

    return [
        name,
        str(len(results)),
        interval([r["argmax"]["finish_rate"] for r in results], percent),
        interval([r["sampled"]["finish_rate"] for r in results], percent),
        f"{mean('argmax', 'median_time_s'):.1f}".replace("nan", "-"),
        interval([r["argmax"]["mean_distance_m"] for r in results], lambda x: str(round(x))),
        f"{100 * mean('argmax', 'upright'):.1f}",
        f"{100 * mean('argmax', 'knee_near'):.1f}",
        f"{mean('loss'):.3f}",
        f"{100 * mean('accuracy'):.1f}",
        " ".join(f"{np.nanmean([r['f1'][k] for r in results]):.2f}" for k in range(4)),
        f"{mean('cpu_seconds'):.0f}",
    ]


HEAD = [
    "arm",
    "seeds",
    "finish %, argmax",
    "finish %, sampled",
    "median s",
    "meters",
    "upright %",
    "knee near %",
    "held-out nats",
    "agreement %",
    f"F1 of {' '.join(KEY_NAMES)}",
    "CPU s",
]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def action_shares() -> str:
    """Format the frequencies of the demonstrated actions."""
    actions = np.concatenate([d.actions for d in decisions_of(DEMOS, 2)])
    masks = ACTION_SETS["distinct"]
    names = ["".join(key for bit, key in enumerate(KEY_NAMES) if mask >> bit & 1) or "none" for mask in masks]
    shares = np.bincount(actions, minlength=len(masks)) / len(actions)
    return ", ".join(f"{names[i]} {shares[i]:.1%}" for i in np.argsort(-shares))


def speed(
    frames: int = 1_000_000, repeats: int = 3, batches: int = 300, batch_size: int = 512
) -> dict[str, Any]:
    """Measure epochs per second of CPU time for `qwop-bc`'s loop and `imitation`'s own, on one thread.

    Both train the same network on `frames` decisions of one frame. imitation's loop has its own loader, loss
    and optimizer settings. Chunks of `batches` gradient steps alternate. Losses are those on the first 20,000
    decisions at the end. The bundled demonstrations, 149 thousand frames, are repeated.
    """
    from imitation.algorithms.bc import BC
    from imitation.data.types import Transitions
    from imitation.util.logger import HierarchicalLogger
    from stable_baselines3.common.logger import Logger

    from qwop_bc import NetworkPolicy

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
    decisions = load_decisions(DEMOS, 1)[1]
    features = np.concatenate([d.features[:-1] for d in decisions])
    actions = np.concatenate([d.actions for d in decisions])
    copies = -(-frames // len(actions))
    features, actions = np.tile(features, (copies, 1))[:frames], np.tile(actions, copies)[:frames]

    config = CloneConfig(frame_skip=1, batch_size=batch_size, play_every=0, device="cpu")
    ours = Cloning(config, decisions[:2])
    ours.batches.features, ours.batches.actions = torch.from_numpy(features), torch.from_numpy(actions)
    ours.network.normalizer.count.zero_()
    ours.network.normalizer.update(ours.batches.features[:200_000])
    theirs = Cloning(config, decisions[:2])  # the same weights
    theirs.start_from(ours.network)
    policy = NetworkPolicy(theirs.network)
    own = BC(
        observation_space=policy.observation_space,
        action_space=policy.action_space,
        rng=np.random.default_rng(0),
        policy=policy,
        demonstrations=Transitions(
            features, actions, np.full(frames, {}, dtype=object), features, np.zeros(frames, bool)
        ),
        batch_size=batch_size,
        optimizer_kwargs={"lr": config.learning_rate},
        ent_weight=config.entropy_coef,
        device="cpu",
        custom_logger=HierarchicalLogger(Logger(None, []), []),
    )
    loops = {"qwop_bc": ours.bc, "imitation": own}
    spent: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            began = time.process_time()
            loop.train(n_batches=batches, log_interval=1_000_000, progress_bar=False)
            spent[name].append(time.process_time() - began)
    sample = ours.batches.features[:20_000], ours.batches.actions[:20_000]
    per_epoch = frames / batch_size / batches
    rates = {name: 1 / (per_epoch * statistics.median(seconds)) for name, seconds in spent.items()}
    losses = {
        name: agreement(network, *sample, "distinct").loss
        for name, network in (("qwop_bc", ours.network), ("imitation", theirs.network))
    }
    torch.set_num_threads(threads)
    return {
        "frames": frames,
        "batch_size": batch_size,
        "epochs_per_second": rates,
        "times_imitation": rates["qwop_bc"] / rates["imitation"],
        "gradient_steps": repeats * batches,
        "loss_nats": losses,
        "torch": torch.__version__,
    }


@dataclass(frozen=True)
class CloningConfig:
    """Measure cloning."""

    tables: Annotated[tuple[Table, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[TABLE ...]")] = ()
    """Some of demos, balance, skip and methods. Without any, all of them."""
    seeds: int = 3
    """Trainings of each arm."""
    adversarial_seeds: int = 1
    """Trainings of each arm of GAIL and AIRL, at most --seeds."""
    folder: Path = Path("runs/cloning")
    """Folder of the trainings. Arms that it already holds are not trained again."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """Try every arm shortly. The figures mean nothing."""
    speed: tyro.conf.FlagCreatePairsOff[bool] = False
    """Measure only the training loop, and print JSON."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        for flag, count in (("--seeds", self.seeds), ("--adversarial-seeds", self.adversarial_seeds)):
            if count < 1:
                raise CommandError(f"{flag} {count}: expected 1 or more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: measure(parse_config(PROGRAM, CloningConfig, arguments, description=__doc__))
    )


def measure(config: CloningConfig) -> None:
    if config.speed:
        print(json_text(speed(*((20_000, 1, 10) if config.quick else ())), indent=1))
        return
    check_outputs({}, {"--folder": config.folder})
    folder = config.folder / "quick" if config.quick else config.folder
    folder.mkdir(parents=True, exist_ok=True)
    seeds, episodes = (1, 4) if config.quick else (config.seeds, EPISODES)
    tables = {table: arms(table, config.quick) for table in config.tables or get_args(Table)}
    found: dict[str, list[dict[str, Any]]] = {}
    everything = {name: arm for table in tables.values() for name, arm in table.items()}
    # An arm that starts from the seed's clone comes after all others.
    for second in (False, True):
        trainings = [
            (name, arm, seed)
            for name, arm in everything.items()
            if ("CLONE" in arm[2].split()) == second
            for seed in range(seeds_of(arm, seeds, config.adversarial_seeds))
        ]
        found |= carry_out(trainings, folder.resolve(), episodes, config)
    for table, its_arms in tables.items():
        rows = [row(name, found[name]) for name in its_arms]
        print(f"\n## {table}\n")
        if table == "balance":
            print(f"Shares of the demonstrated actions: {action_shares()}\n")
        print(markdown(rows), flush=True)


def seeds_of(arm: Arm, seeds: int, adversarial_seeds: int) -> int:
    """Return how many trainings an arm has."""
    return min(seeds, adversarial_seeds) if "gail" in arm[2] or "airl" in arm[2] else seeds


def carry_out(
    trainings: Sequence[tuple[str, Arm, int]], folder: Path, episodes: int, config: CloningConfig
) -> dict[str, list[dict[str, Any]]]:
    """Do the trainings as tasks. Returns the figures of each arm, by seed."""
    names = [f"{stem_of(name)}-{seed}" for name, _, seed in trainings]
    kept = kept_results(config.cluster.tasks, {"episodes": episodes, "quick": config.quick})
    done: dict[int, dict[str, Any]] = dict(
        map_tasks(
            train,
            (folder, episodes),
            trainings,
            options=config.cluster,
            kept=kept,
            names=names,
            unit="training",
        )
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for index, (name, _, _) in enumerate(trainings):
        found.setdefault(name, []).append(done[index])
    return found


if __name__ == "__main__":
    raise SystemExit(main())
