"""Many games as one Gymnasium vector environment. One call into the engine steps them all."""

import copy
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from qwop_game.game_batch import GameBatch, StartStates, own_arrays, seed_generators
from qwop_game.simulator import DEFAULT_TRIG, Simulator, exclusive

# None: Gymnasium 0.29, where every vector environment resets in the same step.
_AUTORESET_MODE: Any = getattr(gymnasium.vector, "AutoresetMode", None)
_AUTORESET: dict[str, Any] = {} if _AUTORESET_MODE is None else {"autoreset_mode": _AUTORESET_MODE.SAME_STEP}

if TYPE_CHECKING:  # pygame is loaded with the first picture only
    from qwop_game.render import Renderer


class QWOPVectorEnv(VectorEnv):
    """`num_envs` games with the options of `QWOPEnv`, stepped together and reset as soon as they end.

    A game whose episode ends in a step starts the next episode within the same step (Gymnasium 1 calls this
    `AutoresetMode.SAME_STEP`). The returned observation and infos are then those of the new episode. The last
    ones of the old episode are infos["final_obs"] (object array [N]) and infos["final_info"], with masks
    under "_final_obs" and "_final_info". "final_info" has the form of the installed Gymnasium: a dict of
    arrays with masks in Gymnasium 1, an object array of dicts in 0.29. In 0.29 "final_obs" also has its old
    name, "final_observation".

    Learners get the same as arrays. infos has the values after resets. infos["_final"] has the values before
    resets, in every step and for every game, so row i is what followed game i's action:
        observation float32 [N, D], raw_observation float32 [N, 60], time (s) and distance (m) float64 [N],
        is_success and fallen bool [N], keys and hip_mode uint8 [N], frame int64 [N] (length so far).

    The underscore in "_final" hides it from wrappers such as Gymnasium's VectorListInfo and TorchRL, which
    expect a mask for every other entry.

    Threads may share it, and it can be copied and pickled: see `QWOPEnv`.

    start_states: function that chooses start states. It is called with bool [N], the games that start an
        episode, in `reset` and after an episode's end, and returns the states of those that do not start at
        the canonical start. None, or a result of None: all start there. It may be replaced at any time.
        Frames count from an episode's start.
    max_episode_steps: for gymnasium.make_vec; the same as max_frames = max_episode_steps * frame_skip.
    render_mode: None or "rgb_array".
    threads, trig: see `Simulator`.

    gymnasium.make_vec makes it, in Gymnasium 1 with vectorization_mode="vector_entry_point". In 0.29 use
    vectorization_mode="custom" and pass the options in vector_kwargs=dict(frame_skip=2): Gymnasium drops all
    others silently.

    Raises ValueError for an option out of range, TypeError for an unknown one.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7.5, **_AUTORESET}
    is_vector_env = True  # Gymnasium 0.29's tools ask for these two
    viewer = None

    def __init__(
        self,
        num_envs: int = 1,
        frame_skip: int = 4,
        action_set: str = "distinct",
        observation: str = "qwop_gym",
        max_frames: int | None = None,
        render_mode: str | None = None,
        engine: str = "auto",
        start_states: Callable[[NDArray[np.bool_]], StartStates | None] | None = None,
        max_episode_steps: int | None = None,
        threads: int = 1,
        trig: str = DEFAULT_TRIG,
    ) -> None:
        self.closed = True  # until there is something to close
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown here: choose rgb_array or None")
        if max_episode_steps is not None:
            limit = max_episode_steps * frame_skip
            max_frames = limit if max_frames is None else min(limit, max_frames)
        self.games = GameBatch(
            num_envs, frame_skip, action_set, observation, max_frames, engine, threads=threads, trig=trig
        )
        self.num_envs = num_envs
        self.single_observation_space = self.games.observation_space
        self.single_action_space = self.games.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(self.games.observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.games.action_space, num_envs)
        self.closed = False
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.games.frames_per_second}
        self.start_states = start_states
        self._all = np.ones(num_envs, bool)
        self._renderer: Renderer | None = None

    @property
    def action_masks(self) -> NDArray[np.uint8]:
        """Key mask of each action, uint8 [A]."""
        return self.games.action_masks

    @property
    def frame_skip(self) -> int:
        """Frames a step."""
        return self.games.frame_skip

    @property
    def trig(self) -> str:
        """Variant of sine and cosine, see `Simulator`."""
        assert isinstance(self.games.simulator, Simulator)
        return self.games.simulator.trig

    @property
    def lock(self) -> threading.RLock:  # pyright: ignore[reportInvalidTypeForm]
        """Held by the thread that plays: see `Simulator`."""
        return self.games.lock

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start new episodes in all games. Returns observations float32 [N, D] and infos.

        A seed, or one per game, only seeds `np_random`. Raises ValueError for any option.
        """
        if options:
            raise ValueError(f"reset takes no options, got {', '.join(map(repr, options))}")
        if seed is not None and not isinstance(seed, int | np.integer):
            if len(seed) != self.num_envs:
                raise ValueError(f"{len(seed)} seeds were given for {self.num_envs} games")
            seed = seed[0]
        if seed is not None:
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))
        self._start(self._all)
        return self.games.observations(), self._infos(self.games.facts())

    @exclusive
    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Play a step with the actions, whole numbers [N].

        Returns observations float32 [N, D], rewards float64, terminated and truncated bool [N], infos. Raises
        ValueError if an action is out of range.
        """
        reward, terminated, truncated = self.games.step(self.games.keys_of(actions))
        observations = self.games.observations()
        facts = self.games.facts()
        infos = self._infos(facts)
        infos["_final"] = {
            "observation": observations.copy(),
            **{name: a.copy() for name, a in facts.items()},
        }
        ended = terminated | truncated
        if ended.any():
            self.end_episodes(ended, observations, infos)
        return observations, reward.astype(np.float64), terminated, truncated, infos

    @exclusive
    def end_episodes(
        self, ended: NDArray[np.bool_], observations: NDArray[np.float32], infos: dict[str, Any]
    ) -> None:
        """Start new episodes in the games `ended`, bool [N], and update a step's results in place.

        For wrappers that end an episode before the game does, such as a reward with a knee rule.
        `observations` and `infos` are those that `step` has just returned.
        """
        final = dict(infos["_final"])
        observation = final.pop("observation")
        if "final_obs" not in infos:
            infos["final_obs"] = np.full(self.num_envs, None, dtype=object)
            infos["_final_obs"] = infos["_final_info"] = np.zeros(self.num_envs, bool)
            if not _AUTORESET:
                infos["final_info"] = np.full(self.num_envs, None, dtype=object)
                infos["final_observation"], infos["_final_observation"] = (
                    infos["final_obs"],
                    infos["_final_obs"],
                )
        known = infos["_final_obs"]
        known |= ended
        for i in np.flatnonzero(ended):
            infos["final_obs"][i] = observation[i]
            if not _AUTORESET:
                infos["final_info"][i] = {
                    name: values[i] if values.ndim > 1 else values[i].item() for name, values in final.items()
                }
        if _AUTORESET:
            infos["final_info"] = {**final, **{"_" + name: known for name in final}}

        self._start(ended)
        observations[ended] = self.games.observations(ended)
        for name, values in self.games.facts().items():
            infos[name][ended] = values[ended]

    @exclusive
    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return all that `set_state` needs to continue bit for bit from here, as arrays [N, ...]."""
        return self.games.get_state()

    @exclusive
    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `get_state` returned. Raises ValueError for another number of games."""
        self.games.set_state(state)

    @exclusive
    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Return the picture of every game, uint8 [400, 640, 3] each. Raises ValueError without rgb_array."""
        if self.render_mode != "rgb_array":
            raise ValueError("render() needs render_mode='rgb_array'")
        from qwop_game.render import Renderer

        if self._renderer is None:
            self._renderer = Renderer()
        return tuple(self._renderer.rgb_array(*self.games.scene(i)) for i in range(self.num_envs))

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

    @exclusive
    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute that all games share. A list or tuple has one value per game, all equal."""
        if isinstance(values, list | tuple):
            each = cast("Sequence[Any]", values)
            if len(each) != self.num_envs or any(value != each[0] for value in each):
                raise ValueError(f"{name}: the games share their attributes, so give one value, got {each}")
            values = each[0]
        setattr(self, name, values)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the games."""
        self.games.simulator.close()

    def __getstate__(self) -> dict[str, Any]:
        seed_generators(self, self.action_space, self.observation_space)
        seed_generators(self.single_action_space, self.single_observation_space)
        return {**self.__dict__, "_renderer": None}  # a copy makes its own renderer

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(own_arrays(state))

    def __copy__(self) -> "QWOPVectorEnv":
        return copy.deepcopy(self)

    def _start(self, mask: NDArray[np.bool_]) -> None:
        self.games.reset(mask, None if self.start_states is None else self.start_states(mask.copy()))

    def _infos(self, facts: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Return facts in Gymnasium's form: with each array a mask of the games that have it, here all."""
        infos: dict[str, Any] = dict(facts)
        infos.update({"_" + name: self._all for name in facts})
        return infos
