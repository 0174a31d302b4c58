"""The tasks as Gymnasium environments, one game or many. `reset(seed=s)` starts the benchmark's episode s.

The rewards of an episode add up to its score. Where it is only truncated, at the time limit, they add up to
the score of its distance.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from qwop_benchmark.games import ENDS, FINISH, GOING, TIME, TaskGames
from qwop_benchmark.tasks import TRAINING_SEEDS, Task, task_of

# None: Gymnasium 0.29, where every vector environment resets in the same step.
_AUTORESET_MODE: Any = getattr(gymnasium.vector, "AutoresetMode", None)
_AUTORESET: dict[str, Any] = {} if _AUTORESET_MODE is None else {"autoreset_mode": _AUTORESET_MODE.SAME_STEP}


def make_task(name: str, num_envs: int | None = None, **options: Any) -> TaskEnv | TaskVectorEnv:
    """Make the environment of a task.

    Args:
        name: id of the task, such as "100m-v1".
        num_envs: number of games of a vector environment; None: a single game.
        options: `frame_skip`, `action_set`, `observation`, see `TaskEnv`.

    Raises:
        ValueError: there is no such task, or an option is out of range.
    """
    return TaskEnv(name, **options) if num_envs is None else TaskVectorEnv(num_envs, name, **options)


class TaskEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One game of a task.

    task: id of the task.
    frame_skip: frames that an action is held, 1 to 30.
    action_set: "distinct" (9 actions), "full" (16) or "reduced" (9), see `qwop_game.ACTION_SETS`.
    observation: "features" (see `qwop_game.encode`) or "qwop_gym" (60 numbers).

    `reset(seed=s)` starts the benchmark's episode s, the same one each time. `reset()` draws a training seed.

    info: seed, meters (from the start), frames (with idle ones), score, end ("", finish, fall, rule or time),
    is_success, keys (the mask held).

    Raises ValueError for an option out of range.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        task: str = "100m-v1",
        frame_skip: int = 4,
        action_set: str = "distinct",
        observation: str = "features",
    ) -> None:
        self.task: Task = task_of(task)
        self.games = TaskGames(self.task, 1, frame_skip, action_set, observation, record=True)
        self.action_space = self.games.games.action_space
        self.observation_space = self.games.games.observation_space
        self.render_mode = None
        self._scored = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode. A seed is that of the benchmark's episode. There are no options."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"reset takes no options, got {', '.join(map(repr, options))}")
        if seed is None:
            seed = int(self.np_random.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop))
        self.games.begin([seed])
        self._scored = 0.0
        return self.games.observations()[0], self._info()

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play a decision. Raises ValueError for an action out of range, or after the episode's end."""
        games = self.games
        if not games.going[0]:
            raise ValueError("the episode is over: call reset")
        games.games.mask_of(action)  # checks it
        games.step(np.array([int(action)]))
        score = float(games.scores()[0])
        reward, self._scored = score - self._scored, score
        end = int(games.end[0])
        over = end not in (GOING, TIME)
        return games.observations()[0], reward, over, end == TIME, self._info()

    @property
    def keys(self) -> NDArray[np.uint8]:
        """Keys of the episode so far, with idle frames, uint8 [T]: what a submission holds."""
        return self.games.keys_of(0)

    def close(self) -> None:
        """Free the game."""
        self.games.close()

    def _info(self) -> dict[str, Any]:
        games = self.games
        return {
            "seed": games.disturbances[0].seed,
            "meters": float(games.meters[0]),
            "frames": int(games.frames[0]),
            "score": float(games.scores()[0]),
            "end": ENDS[int(games.end[0])],
            "is_success": bool(games.end[0] == FINISH),
            "keys": int(games.games.keys[0]),
        }


class TaskVectorEnv(VectorEnv):
    """`num_envs` games of a task, stepped together. A game that ends begins anew in the same step.

    Options are those of `TaskEnv`. Episodes have training seeds, which `reset(seed)` determines; after a list
    of seeds, the first episode of each game is the benchmark's episode of that seed.
    infos["final_obs"] and infos["final_info"], with masks, are those of ended episodes, as Gymnasium 1 has
    them in AutoresetMode.SAME_STEP; infos["_final"] has observation, score, is_success, meters and frames of
    every game before resets, float32 [N, D] and [N].

    Raises ValueError for an option out of range.
    """

    metadata = {"render_modes": [], **_AUTORESET}
    is_vector_env = True  # Gymnasium 0.29's tools ask for these two
    viewer = None

    def __init__(
        self,
        num_envs: int = 1,
        task: str = "100m-v1",
        frame_skip: int = 4,
        action_set: str = "distinct",
        observation: str = "features",
        max_episode_steps: int | None = None,
    ) -> None:
        if max_episode_steps is not None:
            raise ValueError("max_episode_steps: a task has a time limit of its own; omit it")
        self.task: Task = task_of(task)
        self.games = TaskGames(self.task, num_envs, frame_skip, action_set, observation)
        self.num_envs = num_envs
        self.single_observation_space = self.games.games.observation_space
        self.single_action_space = self.games.games.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self.render_mode = None
        self.closed = False
        self._scored = np.zeros(num_envs)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start episodes in all games.

        A list of seeds, one for each game, names the benchmark's episodes, as the seed of `TaskEnv` does. One
        number seeds the draw of training seeds. So does the list's first one, for the episodes that follow.
        """
        if options:
            raise ValueError(f"reset takes no options, got {', '.join(map(repr, options))}")
        if isinstance(seed, list) and len(seed) != self.num_envs:
            raise ValueError(f"reset got {len(seed)} seeds for {self.num_envs} games")
        first = seed[0] if isinstance(seed, list) else seed
        if first is not None:
            self._np_random, self._np_random_seed = seeding.np_random(int(first))
        self._begin(np.ones(self.num_envs, bool), seed if isinstance(seed, list) else None)
        return self.games.observations(), {}

    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Play a decision with actions [N]. Raises ValueError for one out of range."""
        games = self.games
        games.games.keys_of(actions)  # checks the actions
        games.step(np.asarray(actions).reshape(self.num_envs))
        scores = games.scores()
        rewards, self._scored = scores - self._scored, scores.copy()
        observations = games.observations()
        truncated = games.end == TIME
        terminated = ~games.going & ~truncated
        ended = terminated | truncated
        facts = {
            "score": scores,
            "is_success": games.end == FINISH,
            "meters": games.meters.copy(),
            "frames": games.frames.copy(),
        }
        infos: dict[str, Any] = {"_final": {"observation": observations.copy(), **facts}}
        if ended.any():
            infos |= self._finals(ended, observations, facts)
            self._begin(ended)
            observations[ended] = games.observations(np.flatnonzero(ended))
        return observations, rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Free the games."""
        self.games.close()

    def _begin(self, mask: NDArray[np.bool_], seeds: list[int] | None = None) -> None:
        """Start episodes in the games of `mask`: those of the seeds, or training episodes."""
        low, high = TRAINING_SEEDS.start, TRAINING_SEEDS.stop
        drawn = self.np_random.integers(low, high, int(mask.sum())).tolist()
        training: list[int | None] = [drawn.pop() if begins else None for begins in mask.tolist()]
        self.games.begin(training if seeds is None else [int(seed) for seed in seeds], mask)
        self._scored[mask] = 0.0

    def _finals(
        self, ended: NDArray[np.bool_], observations: NDArray[np.float32], facts: dict[str, NDArray[Any]]
    ) -> dict[str, Any]:
        """Return final_obs and final_info in the form of the installed Gymnasium."""
        final = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            final[i] = observations[i].copy()
        if _AUTORESET:
            masked = {**facts, **{"_" + name: ended for name in facts}}
            return {"final_obs": final, "_final_obs": ended, "final_info": masked, "_final_info": ended}
        info = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            info[i] = {name: values[i].item() for name, values in facts.items()}
        old = {"final_observation": final, "_final_observation": ended}
        return {"final_obs": final, "_final_obs": ended, "final_info": info, "_final_info": ended, **old}
