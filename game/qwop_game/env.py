"""One game as a Gymnasium environment: "qwop_game/QWOP-v0"."""

import copy
import threading
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qwop_game.game_batch import GameBatch, seed_generators
from qwop_game.simulator import DEFAULT_TRIG, exclusive

if TYPE_CHECKING:  # pygame is loaded with the first picture only
    from qwop_game.render import Renderer
    from qwop_game.window import Window


class QWOPEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """QWOP without a browser, equal to the real game bit for bit.

    The game is deterministic: the same actions give the same episode, bit for bit. `seed` only seeds
    `action_space.sample()` and `np_random`.

    frame_skip: frames (1/30 s) that an action is held.
    action_set: "distinct", the 9 that differ, index = 3 * {none, Q, W} + {none, O, P}; or qwop-gym's 16,
        "full", or its 9, "reduced".
    observation: "qwop_gym", float32 [60] as in qwop-gym; or "features", see `encode`.
    max_frames: frames after which an episode is truncated; None: never.
    render_mode: None, "rgb_array" (`render()` gives uint8 [400, 640, 3]) or "human" (a window that shows
        every frame, 30 a second).
    engine, trig: see `Simulator`.

    Reward: qwop-gym's default. Terminated: after a fall, a landing in the sand, or with the torso below -10 m
    or past 105 m. `has_finished` says whether that is a success.

    info: time (scoreTime, s), distance (m), is_success, fallen, keys (mask held in the step), hip_mode (the
    current one), frame (of the episode), raw_observation (float32 [60]).

    metadata["render_fps"] is 30 / frame_skip, so that a video of one picture a step runs at the game's speed.

    Threads may share an environment: one method runs at a time, and the others wait, so `render` never shows
    half a step. For several calls without interruption, hold `lock`. copy, deepcopy and pickle make another
    environment that continues bit for bit, including the random generators.

    Raises ValueError for an option out of range, TypeError for an unknown one; with "human", `reset` raises
    `window.DisplayError` where there is no display.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 7.5}

    def __init__(
        self,
        frame_skip: int = 4,
        action_set: str = "distinct",
        observation: str = "qwop_gym",
        max_frames: int | None = None,
        render_mode: str | None = None,
        engine: str = "auto",
        trig: str = DEFAULT_TRIG,
    ) -> None:
        self._set_up(
            render_mode, GameBatch(1, frame_skip, action_set, observation, max_frames, engine, trig=trig)
        )

    def _set_up(self, render_mode: str | None, games: GameBatch) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode {render_mode!r} is unknown: choose human, rgb_array or None")
        self.render_mode = render_mode
        self.games = games
        self.metadata = {**self.metadata, "render_fps": games.frames_per_second}
        self.action_space = self.games.action_space
        self.observation_space = self.games.observation_space
        self._renderer: Renderer | None = None
        self._window: Window | None = None

    @property
    def lock(self) -> threading.RLock:  # pyright: ignore[reportInvalidTypeForm]
        """Held by the thread that plays: see `Simulator`."""
        return self.games.lock

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Return the action of each combination of the keys q, w, o, p, for `gymnasium.utils.play.play`.

        The mapping omits action 0, no keys. A combination that the action set lacks gets the action with the
        same effect. "reduced" has no action for QO and WP, so they do nothing.
        """
        return self.games.keys_to_action()

    @exclusive
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode at the canonical start. There are no options: raises ValueError for any."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"reset takes no options, got {', '.join(map(repr, options))}")
        self.games.reset()
        if self.render_mode == "human":
            self._show()
        return self.games.observations()[0], self._info()

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play frame_skip frames with an action's keys held."""
        games = self.games
        mask = games.mask_of(action)
        if self.render_mode != "human" and (result := games.step_one(mask)) is not None:
            return result
        with games.lock:
            reward, terminated, truncated = games.step(
                np.array([mask], np.uint8), after_frame=self._show if self.render_mode == "human" else None
            )
            observation = games.observations()[0]
            return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._info()

    @exclusive
    def render(self) -> NDArray[np.uint8] | None:
        """Return the current picture, uint8 [400, 640, 3]; None in "human", where `step` shows it."""
        if self.render_mode == "rgb_array":
            from qwop_game.render import Renderer

            if self._renderer is None:
                self._renderer = Renderer()
            return self._renderer.rgb_array(*self.games.scene(0))
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a render_mode: make the environment with 'rgb_array' or 'human'"
            )
        return None

    @exclusive
    def close(self) -> None:
        """Close the window and free the game."""
        if self._window is not None:
            self._window.close()
        self.games.simulator.close()

    def __getstate__(self) -> dict[str, Any]:
        seed_generators(self, self.action_space, self.observation_space)
        # A copy makes its own renderer and window.
        return {**self.__dict__, "_renderer": None, "_window": None}

    def __copy__(self) -> "QWOPEnv":
        return copy.deepcopy(self)

    def _show(self) -> None:
        from qwop_game.window import Window

        if self._window is None:
            self._window = Window()
        self._window.show(*self.games.scene(0))

    def _info(self) -> dict[str, Any]:
        facts = self.games.facts()
        raw_observation = facts.pop("raw_observation")[0]
        return {
            **{name: values[0].item() for name, values in facts.items()},
            "raw_observation": raw_observation,
        }
