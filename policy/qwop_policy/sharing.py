"""Push a policy to the Hugging Face Hub, with a card, a film and an ONNX model, and pull one from there."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from qwop_cli import CommandError, json_text
from qwop_cli.hub import CARD, Pulled, check_name, only_file, pull, push
from qwop_evaluation import CheckpointPlayer, evaluate, play
from qwop_policy.card import FIGURE_NAMES, CardFacts, model_card
from qwop_policy.exporting import export_onnx
from qwop_policy.information import policy_info
from qwop_replay import ReplayedRun, write_video
from qwop_rl_core import CheckpointError

FILM_SIZES = {"mp4": (640, 400), "gif": (320, 200)}
FIGURES = "figures.json"
"""Name of the measured figures in a repository."""
Film = Literal["mp4", "gif", "none"]


@dataclass(frozen=True)
class ShareConfig:
    """What goes into the repository of a policy beside it."""

    license: str | None = None
    """SPDX identifier of the policy's license, such as MIT or CC-BY-4.0."""
    episodes: int = 100
    """Episodes of protocol P to measure, from seed 0 on."""
    figures: Path | None = None
    """Figures that `qwop-eval --json` has printed for this file, in place of a measurement."""
    film: Film = "mp4"
    """Film of a typical episode. The Hub shows an mp4 beside the card."""
    onnx: bool = True
    """Add the ONNX model, if the packages of the extra `onnx` are installed."""

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[A-Za-z0-9.+-]{1,40}", self.license):
            raise CommandError(f"license {self.license!r}: give an SPDX identifier such as CC-BY-4.0")
        if self.episodes < 1:
            raise CommandError(f"episodes is {self.episodes}: expected 1 or more")


def push_policy(
    checkpoint: str | os.PathLike[str],
    repository: str,
    config: ShareConfig | None = None,
    private: bool = False,
    on_frame: Callable[[int, int], None] | None = None,
) -> str:
    """Put a policy into a repository of the Hub, in one commit: the file, a card, figures, a film, ONNX.

    Args:
        checkpoint: the policy.
        repository: USER/NAME; it is made if it does not exist.
        config: what to add; None: the defaults.
        private: make a new repository private.
        on_frame: called after each frame of the measurement with (frames played, episodes over).

    Returns:
        The address of the repository.

    Raises:
        CheckpointError: the policy can't be read, or does not fit this game.
        CommandError: the figures are not this policy's, a package is missing, or the Hub refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = write_repository(checkpoint, repository, Path(folder), config, on_frame)
        name = Path(checkpoint).name
        return push(repository, files, kind="model", message=f"Add {name}", private=private)


def write_repository(
    checkpoint: str | os.PathLike[str],
    repository: str,
    folder: Path,
    config: ShareConfig | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> dict[str, Path | bytes]:
    """Write what `push_policy` pushes into a folder.

    Args:
        checkpoint: the policy.
        repository: USER/NAME, for the card.
        folder: folder of the card, the figures, the film and the ONNX model. It exists.
        config: what to add; None: the defaults.
        on_frame: called after each frame of the measurement with (frames played, episodes over).

    Returns:
        Name in the repository -> file. The policy's file is the checkpoint itself.

    Raises:
        CheckpointError: the policy can't be read, or does not fit this game.
        CommandError: the figures are not this policy's.
    """
    check_name(repository)
    config = config or ShareConfig()
    path = Path(checkpoint)
    player = CheckpointPlayer(path, numpy=True)
    info = policy_info(path)
    name = _file_name(path)
    if config.figures is not None:
        figures = read_figures(config.figures, info.sha256)
    else:
        figures = evaluate(player, episodes=config.episodes, on_frame=on_frame).as_json()
    figures_file = folder / FIGURES
    figures_file.write_text(json_text(figures, 1), encoding="utf-8")
    files: dict[str, Path | bytes] = {name: path, FIGURES: figures_file}

    seed = typical_seed(figures["runs"])
    film = None
    if config.film != "none":
        film = f"replay.{config.film}"  # the name under which the Hub shows an mp4
        (episode,) = play(player, [seed])
        write_video(folder / film, [ReplayedRun(player.name, episode)], size=FILM_SIZES[config.film])
        files[film] = folder / film
    onnx, check = None, ""
    if config.onnx and has_onnx():
        onnx = f"{Path(name).stem}.onnx"
        check = str(export_onnx(path, folder / onnx, episodes=3))
        files[onnx] = folder / onnx
    card = folder / CARD
    facts = CardFacts(repository, info, name, figures, config.license, film, seed, onnx, check)
    card.write_text(model_card(facts), encoding="utf-8")
    files[CARD] = card
    return files


def has_onnx() -> bool:
    """Whether the packages of the extra `onnx` are installed."""
    return all(importlib.util.find_spec(package) for package in ("onnx", "onnxruntime"))


def pull_policy(
    repository: str, output: str | os.PathLike[str], file: str | None = None, revision: str | None = None
) -> Pulled:
    """Get a policy from a repository of the Hub. It is kept only if this release can play it.

    Args:
        repository: USER/NAME.
        output: the new file.
        file: name of the policy in the repository; None: the only .safetensors file.
        revision: a branch, tag or commit; None: the main branch.

    Returns:
        The file's name in the repository, and the commit that it is from.

    Raises:
        CommandError: the output exists, there is no such repository or file, the Hub can't be reached, or
            the file is no policy of this project that this release can play.
    """

    def check(path: Path) -> None:
        try:
            CheckpointPlayer(path, numpy=True)
        except CheckpointError as error:
            message = str(error).replace(f"{path}: ", "")
            raise CommandError(f"{repository}: no policy that this release can play: {message}") from None

    choose = only_file(repository, ".safetensors", file)
    try:
        return pull(repository, Path(output), kind="model", choose=choose, revision=revision, check=check)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from None


def read_figures(path: Path, sha256: str) -> dict[str, Any]:
    """Read what `qwop-eval --json` printed, and check that it is of a policy's file.

    Args:
        path: the JSON file.
        sha256: hash of the policy's file.

    Raises:
        CommandError: the file can't be read, is something else, or belongs to another policy.
    """
    wrong = f"{path}: not what qwop-eval --json prints; write it with qwop-eval CHECKPOINT --json > FILE"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise CommandError(wrong) from None
    if not isinstance(found, dict):
        raise CommandError(wrong)
    figures = cast("dict[str, Any]", found)
    if not figures.keys() >= FIGURE_NAMES or not _well_formed(figures):
        raise CommandError(wrong)
    if figures["policy_sha256"] != sha256:
        raise CommandError(f"{path}: is of another policy (SHA-256 {figures['policy_sha256']})")
    if figures["protocol"] != "P":
        raise CommandError(f"{path}: measured without the disturbances of protocol P; omit --unperturbed")
    return figures


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not in JSON")


def _well_formed(figures: dict[str, Any]) -> bool:
    """Whether the entries that a card uses have the types of `qwop-eval --json`."""
    texts = {"protocol", "actions", "policy_sha256"}
    lists = {"seeds": int, "runs": dict}
    for name in FIGURE_NAMES - texts - lists.keys():
        if not isinstance(figures[name], int | float | None):
            return False
    for name, kind in lists.items():
        if not isinstance(figures[name], list):
            return False
        entries = cast("list[Any]", figures[name])
        if not entries or not all(type(entry) is kind for entry in entries):
            return False
    return all(isinstance(figures[name], str) for name in texts) and all(
        type(run.get("seed")) is int
        and run["seed"] >= 0
        and isinstance(run.get("finished"), bool)
        and all(isinstance(run.get(key), int | float) for key in ("time_s", "distance_m"))
        for run in figures["runs"]
    )


def typical_seed(runs: list[dict[str, Any]]) -> int:
    """Return the seed of the episode of median time among those that finished, or else of median distance.

    Args:
        runs: at least one, as `qwop-eval --json` lists them.
    """
    finished = [run for run in runs if run["finished"]]
    key = "time_s" if finished else "distance_m"
    ranked = sorted(finished or runs, key=lambda run: (run[key], run["seed"]))
    return int(ranked[(len(ranked) - 1) // 2]["seed"])


def _file_name(path: Path) -> str:
    """Return the policy's name in the repository: that of the file, as far as commands can quote it."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "policy"
    return f"{stem}.safetensors"
