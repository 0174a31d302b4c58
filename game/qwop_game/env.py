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
    """QWOP, exact and without a browser.

    The physics knows no chance: the same actions give the same episode, bit for bit; `seed` only seeds
    `action_space.sample()` and `np_random`.

    frame_skip: frames (1/30 s) that an action is held.
    action_set: "distinct", the 9 that differ, index = 3 * {none, Q, W} + {none, O, P}; or qwop-gym's 16,
        "full", or its 9, "reduced".
    observation: "qwop_gym", float32 [60] as qwop-gym gives it; or "features", what `encode` makes of it.
    max_frames: an episode this many frames old is truncated; None: never.
    render_mode: None, "rgb_array" (`render()` gives uint8 [400, 640, 3]) or "human" (a window that shows
        every frame, 30 a second).
    engine, trig: see `Simulator`.

    Reward: qwop-gym's default. Terminated: a fall, a landing in the sand, or a torso below -10 m or past
    105 m; a success if it is finished then (`has_finished`).

    info: time (scoreTime, s), distance (m), is_success, fallen, keys (mask held in the step), hip_mode (that
    holds now), frame (of the episode), raw_observation (float32 [60]).

    metadata["render_fps"] is 30 / frame_skip, so that a video of one picture a step runs at the game's speed.

    Threads may share an environment: each method waits until the one that runs in another thread is over, so
    `render` never shows half a step. A thread that needs several calls to itself holds `lock` meanwhile.
    copy, deepcopy and pickle give another environment, random generators included, that goes on bit for bit.

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
        """For `gymnasium.utils.play.play`: each combination of the keys q, w, o, p -> action.

        No keys are action 0, which is not in it.
        A combination that the action set lacks is the action that does the same; in "reduced", which has no
        QO and no WP, these do nothing.
        """
        return self.games.keys_to_action()

    @exclusive
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The canonical start. There are no options. Raises ValueError for any."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"reset knows no options, got {', '.join(map(repr, options))}")
        self.games.reset()
        if self.render_mode == "human":
            self._show()
        return self.games.observations()[0], self._info()

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold an action's keys for frame_skip frames."""
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
        """rgb_array: the picture of now, uint8 [400, 640, 3]. human: None, `step` has shown every frame."""
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
        # A copy paints for itself, and opens a window of its own.
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
