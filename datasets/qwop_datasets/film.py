"""Pictures of an episode, frame by frame, with the hurdle where the run left it. It needs pygame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.episode import Episode
from qwop_datasets.verify import verify_episode
from qwop_game import UNITS_PER_METER, Simulator
from qwop_game.render import STANDING_HURDLE, Dials, HurdlePose, Renderer, hurdle_pose

_STANDING = np.array(STANDING_HURDLE, np.float32)


def hurdle_poses(episode: Episode, *, exact: bool | None = None) -> NDArray[np.float32]:
    """Compute x, y and angle of the hurdle's base and top in every frame.

    Observations do not contain it, so it comes from a replay of the keys. If the replay differs from the
    recording, the hurdle stays at its initial place.

    Args:
        episode: The episode of T frames.
        exact: Whether a replay gives the recorded states; None: check it.

    Returns:
        float32 [T + 1, 2, 3].
    """
    poses = np.tile(_STANDING, (episode.num_frames + 1, 1, 1))
    if not (verify_episode(episode).exact if exact is None else exact):
        return poses
    simulator = Simulator(1, stop_at_end=episode.game == "embedded", trig=episode.trig)
    simulator.begin(episode.start)
    poses[0] = hurdle_pose(simulator.state[0])
    for frame, keys in enumerate(episode.keys):
        simulator.step(np.array([keys], np.uint8))
        poses[frame + 1] = hurdle_pose(simulator.state[0])
    simulator.close()
    return poses


def pose_at(poses: NDArray[np.float32], frame: int) -> HurdlePose:
    """Return the pose of one frame of `hurdle_poses`, as `Renderer` takes it."""
    base, top = poses[frame].tolist()
    return tuple(base), tuple(top)


def pictures(
    episode: Episode, renderer: Renderer, *, dials: bool = False, every: int = 1
) -> Iterator[NDArray[np.uint8]]:
    """Draw the state before each frame of an episode, and with dials also its last state.

    Args:
        episode: The episode of T frames.
        renderer: Draws them.
        dials: Show clock, distance and keys held.
        every: Frames from one picture to the next.

    Yields:
        Pictures, uint8 [height, width, 3]: those of frames 0, `every`, ..., below T, or up to T with dials.
    """
    poses = hurdle_poses(episode)
    for frame in range(0, episode.num_frames + dials, every):
        raw = episode.raw_observations[frame]
        shown = None
        if dials:
            keys = int(episode.keys[frame]) if frame < episode.num_frames else 0
            shown = Dials(keys, float(episode.times[frame]), float(raw[0]) / UNITS_PER_METER)
        yield renderer.rgb_array(raw, shown, pose_at(poses, frame))
