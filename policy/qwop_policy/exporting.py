"""Export a policy to ONNX, and check the graph against the policy over whole episodes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import CommandError, write_whole
from qwop_evaluation import PolicyPlayer, play
from qwop_game import PolicySpec, encode, hip_modes, last_keys, normalize
from qwop_policy.graph import Observation, policy_graph
from qwop_rl_core import CheckpointError, NumpyPolicy

TOLERANCE = 0.01
"""Largest difference between a logit of the graph and the policy's own that counts as rounding."""


@dataclass(frozen=True)
class ExportCheck:
    """A graph compared with its policy at every decision of some episodes."""

    episodes: int
    same_episodes: int
    """Episodes in which the graph chooses the policy's action at every decision."""
    decisions: int
    same_actions: int
    """Decisions at which both choose the same action."""
    largest_difference: float
    """Largest difference of a logit, or an action value."""

    def __str__(self) -> str:
        return (
            f"{self.same_episodes} of {self.episodes} episodes and {self.same_actions:,} of "
            f"{self.decisions:,} actions are the policy's; logits differ by at most "
            f"{self.largest_difference:.1g}"
        )


def export_onnx(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    observation: Observation = "raw",
    episodes: int = 10,
    on_frame: Callable[[int, int], None] | None = None,
) -> ExportCheck | None:
    """Write a policy as an ONNX model that takes observations; the features are inside.

    Args:
        checkpoint: the policy.
        output: .onnx file to write; an existing one is replaced.
        observation: what the model takes: "raw" observations, or "qwop_gym", those of qwop-gym.
        episodes: episodes of protocol P, from seed 0 on, over which onnxruntime is compared with the policy;
            0: none.
        on_frame: called after each frame of these episodes with (frames played, episodes over).

    Returns:
        The comparison; None without episodes.

    Raises:
        CheckpointError: the policy can't be read, or does not fit this game.
        CommandError: a package of the extra `onnx` is missing, the file can't be written, or the graph's
            logits are not the policy's; then nothing is written.
    """
    policy = NumpyPolicy.load(checkpoint)
    try:
        spec = PolicySpec.from_metadata(policy.metadata)
        player = PolicyPlayer(policy, Path(checkpoint).stem)
        sha256 = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
        model = policy_graph(policy, spec, observation, {"checkpoint_sha256": sha256})
    except (ValueError, CheckpointError) as error:
        raise CheckpointError(f"{checkpoint}: {error}") from None
    content: bytes = model.SerializeToString()
    check = check_onnx(content, player, episodes, on_frame) if episodes else None
    if check is not None and not check.largest_difference <= TOLERANCE:
        raise CommandError(f"{output}: not written, the graph is not the policy: {check}")
    try:
        write_whole(Path(output), lambda path: _write(path, content))
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from None
    return check


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def check_onnx(
    model: str | os.PathLike[str] | bytes,
    player: PolicyPlayer,
    episodes: int,
    on_frame: Callable[[int, int], None] | None = None,
) -> ExportCheck:
    """Compare an exported model with its policy over whole episodes of protocol P.

    The policy plays. At each of its decisions the model gets the same observation. As the game is exact, an
    episode in which it always chooses the same action is the episode that it would play itself.

    Args:
        model: the .onnx file, or its content.
        player: the policy.
        episodes: number of episodes, from seed 0 on.
        on_frame: called after each frame with (frames played, episodes over).

    Raises:
        CommandError: onnxruntime is not installed.
    """
    session = OnnxSession(model)
    decisions = same_actions = same_episodes = 0
    largest = 0.0
    for episode in play(player, range(episodes), on_frame=on_frame):
        at = np.arange(int(episode.provenance["idle_frames"]), episode.num_frames, player.frame_skip)
        raw = episode.raw_observations[at]
        modes, held = hip_modes(episode.keys)[at], last_keys(episode.keys)[at]
        expected = player.scores(encode(raw, modes, held))
        found = session.run(raw, modes, held)
        same = found["action"] == expected.argmax(axis=1)
        decisions, same_actions = decisions + len(at), same_actions + int(same.sum())
        same_episodes += bool(same.all())
        largest = max(largest, float(np.abs(found["scores"] - expected).max()))
    return ExportCheck(episodes, same_episodes, decisions, same_actions, largest)


class OnnxSession:
    """An exported model in onnxruntime, on one thread.

    More threads would wait for each other in busy loops, as small as these networks are.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes) -> None:
        """Load a model.

        Args:
            model: the .onnx file, or its content.

        Raises:
            CommandError: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError:
            raise CommandError("onnxruntime is missing: pip install 'qwop-stride[onnx]'") from None
        runtime: Any = onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        content = model if isinstance(model, bytes) else str(model)
        self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self._observation: str = self._session.get_inputs()[0].name

    def run(
        self, raw: NDArray[np.float32], hip_mode: NDArray[np.uint8], last_keys: NDArray[np.uint8]
    ) -> dict[str, NDArray[Any]]:
        """Return the model's outputs by name, logits or action values as `scores`.

        Args:
            raw: raw observations [N, 60]; they are normalized for a model that takes qwop-gym's.
            hip_mode: uint8 [N].
            last_keys: uint8 [N].
        """
        observation = raw if self._observation == "raw_observation" else normalize(raw)
        inputs = {self._observation: observation, "hip_mode": hip_mode, "last_keys": last_keys}
        scores, *others = self._session.run(None, inputs)
        return {"scores": scores, **dict(zip(self._names[1:], others, strict=True))}
