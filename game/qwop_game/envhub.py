"""The games in the form of LeRobot's EnvHub: `make_env`, and observations and actions as in its datasets.

docs/envhub/env.py is the file for a repository of the Hub. The datasets of `qwop-data convert --to lerobot`
have the same observations and actions, so a policy trained on them plays here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qwop_game.keys import KEY_O, KEY_P, KEY_Q, KEY_W, action_masks
from qwop_game.observation import OBSERVATION_SIZE
from qwop_game.simulator import exclusive
from qwop_game.vector_env import QWOPVectorEnv
from qwop_game.wrapper import QWOPVectorWrapper

if TYPE_CHECKING:  # pygame is loaded with the first picture only
    from qwop_game.render import Renderer

SUITE = "qwop"
TASK = "Run 100 m in QWOP."
MAX_EPISODE_STEPS = 3000
PICTURE = (320, 200)
"""Width and height of the pictures, px, as in the datasets."""

_KEYS = np.array([KEY_Q, KEY_W, KEY_O, KEY_P], np.uint8)
_OBSERVATIONS = {"state": False, "pixels_agent_pos": True}  # obs_type -> with pictures


@dataclass(frozen=True)
class OneGame:
    """What LeRobot asks of each game of a vector environment."""

    env: LeRobotVectorEnv
    index: int
    task: str = TASK
    task_description: str = TASK

    def render(self) -> NDArray[np.uint8]:
        """Draw the game, uint8 [200, 320, 3]."""
        return self.env.picture(self.index)


class LeRobotVectorEnv(QWOPVectorWrapper):
    """`QWOPVectorEnv` with LeRobot's observations and actions.

    Observations are {"agent_pos": float32 [N, 60]}, which LeRobot calls observation.state, and with `pixels`
    also {"pixels": {"game": uint8 [N, 200, 320, 3]}}: observation.images.game. Actions are float32 [N, 4],
    for Q, W, O and P: a key is held if its number is above 0.

    Args:
        env: games with the action set "full".
        max_episode_steps: steps after which LeRobot ends an episode.
        pixels: whether observations have pictures.
    """

    task = task_description = TASK

    def __init__(self, env: QWOPVectorEnv, max_episode_steps: int, pixels: bool = False) -> None:
        super().__init__(env)
        self._max_episode_steps = max_episode_steps
        self._pixels = pixels
        self._renderer: Renderer | None = None
        masks = action_masks("full")
        self._actions = np.zeros(len(masks), np.int64)  # of each key mask
        self._actions[masks] = np.arange(len(masks))
        spaces: dict[str, gymnasium.Space[Any]] = {"agent_pos": env.single_observation_space}
        if pixels:
            width, height = PICTURE
            picture = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
            spaces["pixels"] = gymnasium.spaces.Dict({"game": picture})
        self.single_observation_space: Any = gymnasium.spaces.Dict(spaces)
        self.single_action_space: Any = gymnasium.spaces.Box(-1, 1, (len(_KEYS),), np.float32)
        self.observation_space = gymnasium.vector.utils.batch_space(
            self.single_observation_space, self.num_envs
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.metadata = {**env.metadata, "render_modes": ["rgb_array"]}
        self.render_mode = "rgb_array"

    @property
    def envs(self) -> list[OneGame]:
        """The games, for LeRobot, which asks the first one for its task."""
        return [OneGame(self, index) for index in range(self.num_envs)]

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes in all games. `options`, which LeRobot gives, change nothing."""
        observations, infos = self.env.reset(seed=seed)
        return self._dict(observations), infos

    @exclusive
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play a step with the actions, float [N, 4].

        Raises:
            ValueError: the actions have another shape, or NaN.
        """
        held = np.asarray(actions)
        if held.shape != (self.num_envs, len(_KEYS)) or held.dtype.kind not in "fiub":
            expected = f"numbers [{self.num_envs}, {len(_KEYS)}]"
            raise ValueError(f"actions are {held.dtype} {list(held.shape)}, expected {expected}")
        if np.isnan(held).any():
            raise ValueError("an action is NaN")
        masks = ((held > 0) * _KEYS).sum(axis=1)
        observations, reward, terminated, truncated, infos = self.env.step(self._actions[masks])
        for name in ("final_obs", "final_observation"):
            if name in infos:
                infos[name] = np.array([None if o is None else {"agent_pos": o} for o in infos[name]], object)
        return self._dict(observations), reward, terminated, truncated, infos

    @exclusive
    def picture(self, index: int) -> NDArray[np.uint8]:
        """Draw a game, uint8 [200, 320, 3]."""
        if self._renderer is None:
            from qwop_game.render import Renderer

            self._renderer = Renderer(*PICTURE)
        runner, _dials, hurdle = self.games.scene(index)
        return self._renderer.rgb_array(runner, None, hurdle)

    @exclusive
    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Draw every game, uint8 [200, 320, 3] each."""
        return tuple(self.picture(index) for index in range(self.num_envs))

    @exclusive
    def call(self, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Return one result per game, of `render` or of a method or attribute that all games share."""
        if name == "render":
            return list(self.render())
        value = getattr(self, name)
        return [value(*args, **kwargs) if callable(value) else value] * self.num_envs

    def get_attr(self, name: str) -> list[Any]:
        """See `call`."""
        return self.call(name)

    def _dict(self, observations: NDArray[np.float32]) -> dict[str, Any]:
        shown: dict[str, Any] = {"agent_pos": observations}
        if self._pixels:
            shown["pixels"] = {"game": np.stack(self.render())}
        return shown


def make_env(
    n_envs: int = 1,
    use_async_envs: bool = False,
    cfg: Any = None,
    *,
    frame_skip: int = 1,
    max_episode_steps: int = MAX_EPISODE_STEPS,
    obs_type: str = "state",
) -> dict[str, dict[int, LeRobotVectorEnv]]:
    """Make games for LeRobot, which calls this with its first three arguments.

    Args:
        n_envs: number of games, stepped by one call.
        use_async_envs: ignored: the games need no processes of their own.
        cfg: LeRobot's configuration of the environment, if there is one. Its `obs_type` and `episode_length`
            replace the arguments below; other fields are ignored.
        frame_skip: frames that an action is held; 1, as in the datasets.
        max_episode_steps: steps after which an episode is cut short.
        obs_type: "state", or "pixels_agent_pos" for pictures as well.

    Returns:
        {"qwop": {0: the games}}.

    Raises:
        ValueError: an argument is out of range.
    """
    del use_async_envs
    if cfg is not None:
        obs_type = cast("str", getattr(cfg, "obs_type", obs_type))
        max_episode_steps = cast("int", getattr(cfg, "episode_length", max_episode_steps))
    if obs_type not in _OBSERVATIONS:
        raise ValueError(f"obs_type {obs_type!r} is unknown: choose {' or '.join(_OBSERVATIONS)}")
    if n_envs < 1:
        raise ValueError(f"n_envs is {n_envs}: expected 1 or more")
    games = QWOPVectorEnv(
        n_envs, frame_skip, action_set="full", observation="qwop_gym", max_episode_steps=max_episode_steps
    )
    assert games.single_observation_space.shape == (OBSERVATION_SIZE,)
    return {SUITE: {0: LeRobotVectorEnv(games, max_episode_steps, _OBSERVATIONS[obs_type])}}
