"""The terms of rewards. Each returns one number per step and game, float [N].

A term is made for `num_envs` games. It remembers what it needs per game in the arrays of `memory`, in place,
and forgets the games of `reset(mask)`. Its options are the keyword arguments of its class; `make_reward`
takes them by these names. A step is a decision of k = frame_skip frames, k / 30 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game import FRAME_SECONDS, PARTS, TRACK_Y, UNITS_PER_METER, canonical_keys, knee_clearance
from qwop_game.gait import KNEE_NEAR_METERS, knee_near, upright
from qwop_rewards.transition import Transition

_TORSO = 5 * PARTS.index("torso")
_LEFT_FOOT_X, _RIGHT_FOOT_X = 5 * PARTS.index("leftFoot"), 5 * PARTS.index("rightFoot")
# The physics advances its own time by 0.04 a frame: a velocity of 1 is 0.04 units a frame.
_SPEED_TO_METERS_PER_SECOND = 0.04 / FRAME_SECONDS / UNITS_PER_METER


class Memoryless:
    """Base of the terms that remember nothing: they depend on one transition only."""

    def __init__(self, num_envs: int) -> None:
        self.memory: dict[str, NDArray[Any]] = {}

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Nothing to do."""


class Default:
    """The reward of qwop-gym 1.0.1, with its mixture of float32 and float64.

    0.01 * ds / dt - 10 * dt / frames, +50 on success, -10 where the game ends otherwise, with s = x / 10 (m)
    and t = scoreTime / 10. As in qwop-gym, the first step of an episode counts from s = 0, t = 0, not from
    the first observation. s is computed from the stored float32 x, so it is rounded twice; qwop-gym rounds
    x / 10 once. The difference is at most one unit in the last place of s.
    """

    def __init__(self, num_envs: int) -> None:
        self._first_step = np.ones(num_envs, bool)
        self.memory = {"first_step": self._first_step}

    def reset(self, mask: NDArray[np.bool_]) -> None:
        self._first_step |= mask

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        def meters_and_tens(
            raw: NDArray[np.float32], time: NDArray[np.float64]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            x = raw[:, _TORSO].astype(np.float64)
            return (x / 10).astype(np.float32), (time / 10).astype(np.float32)

        zero = np.float32(0)
        s_tm1, t_tm1 = meters_and_tens(transition.raw, transition.time)
        s_t, t_t = meters_and_tens(transition.next_raw, transition.next_time)
        ds = s_t - np.where(self._first_step, zero, s_tm1)
        dt = t_t - np.where(self._first_step, zero, t_tm1)
        self._first_step[:] = False

        speed = np.divide(ds, dt, out=np.zeros_like(ds), where=dt > 0)
        # Float32 up to here; qwop-gym divides by the int frames_per_step, so the rest is float64.
        time_cost = (dt * np.float32(10)).astype(np.float64) / transition.frames
        return speed * np.float32(0.01) - time_cost + 50.0 * transition.success - 10.0 * transition.fell


class Torso:
    """`Default` minus a penalty for a low torso.

    The penalty is torso_weight * max(torso_threshold - h, 0), with h the height of the torso's center above
    the track after the step, m. The torso's center is at about 1.1 m in an upright runner and 0.7 m in a
    scraper.

    torso_threshold: m. torso_weight: reward per meter below it, a step.
    """

    def __init__(self, num_envs: int, torso_threshold: float = 0.9, torso_weight: float = 1.0) -> None:
        self._default = Default(num_envs)
        self.memory = self._default.memory
        self._threshold = torso_threshold
        self._weight = torso_weight

    def reset(self, mask: NDArray[np.bool_]) -> None:
        self._default.reset(mask)

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        height = (TRACK_Y - transition.next_raw[:, _TORSO + 1].astype(np.float64)) / UNITS_PER_METER
        return self._default(transition) - self._weight * np.maximum(self._threshold - height, 0.0)


class Stride(Memoryless):
    """Forward progress.

    0.1 per world unit forward, -step_cost per step, -fall_cost if the episode ends without success (also by
    the knee rule), +finish_bonus on success. With `power` p, progress d (world units) at mean speed v pays
    0.1 * d * (v / reference_speed)^(p - 1): a meter at more than the reference speed is worth more, a slower
    one less, whatever the frame skip. p = 1 gives 0.1 * d. Steps backward always pay 0.1 * d.

    Args:
        num_envs: number of games.
        power: p, 1 or more.
        reference_speed: m/s; 2 m/s is a run of 50 s.
        step_cost: cost per decision.
        fall_cost: cost of an end without success.
        finish_bonus: reward of a success.
    """

    def __init__(
        self,
        num_envs: int,
        power: float = 1.0,
        reference_speed: float = 2.0,
        step_cost: float = 0.02,
        fall_cost: float = 2.0,
        finish_bonus: float = 10.0,
    ) -> None:
        super().__init__(num_envs)
        if not power >= 1.0:
            raise ValueError(f"power is {power}: it must be 1 or more")
        if not reference_speed > 0.0:
            raise ValueError(f"reference_speed is {reference_speed}: it must be above 0 m/s")
        self._power = power
        self._reference_speed = reference_speed
        self._step_cost = step_cost
        self._fall_cost = fall_cost
        self._finish_bonus = finish_bonus

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        forward = 0.1 * transition.progress
        if self._power != 1.0:
            pace = np.maximum(transition.speed, 0.0) / self._reference_speed
            forward = np.where(forward > 0.0, forward * pace ** (self._power - 1.0), forward)
        return (
            forward
            - self._step_cost
            - self._fall_cost * transition.fell
            + self._finish_bonus * transition.success
        )


class Speed(Memoryless):
    """Mean forward speed of the torso during the step, m/s. It ignores postures and endings."""

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        return transition.speed


class Alternation:
    """1 for each change of the leading foot while the runner is upright (`qwop_game.gait.upright`).

    A foot leads once it is `lead` m ahead of the other, until the other foot leads. Feet side by side
    therefore earn nothing. The first leader of an episode is not a change.
    """

    def __init__(self, num_envs: int, lead: float = 0.3) -> None:
        if not lead >= 0.0:
            raise ValueError(f"lead is {lead}: it must be 0 m or more")
        self._lead = lead
        self._leader = np.zeros(num_envs, np.int8)
        self.memory = {"leader": self._leader}

    def reset(self, mask: NDArray[np.bool_]) -> None:
        self._leader[mask] = 0

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        def leader(raw: NDArray[np.float32], before: NDArray[np.int8]) -> NDArray[np.int8]:
            ahead = (raw[:, _LEFT_FOOT_X] - raw[:, _RIGHT_FOOT_X]) / UNITS_PER_METER
            return np.where(np.abs(ahead) >= self._lead, np.sign(ahead), before).astype(np.int8)

        before = leader(transition.raw, self._leader)
        self._leader[:] = leader(transition.next_raw, before)
        changed = (before != 0) & (self._leader != before)
        return (changed & upright(transition.next_raw)).astype(np.float64)


class Knee(Memoryless):
    """Minus the time with a knee within 0.12 m of the track, s: -frames / 30 for a step that ends so."""

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        return -FRAME_SECONDS * transition.frames * knee_near(transition.next_raw)


class Upright(Memoryless):
    """Minus the time that the runner was not upright, s: -frames / 30 for a step that ends so.

    `qwop_game.gait.upright` says what upright is.
    """

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        return -FRAME_SECONDS * transition.frames * ~upright(transition.next_raw)


class Energy(Memoryless):
    """Minus the movement of the limbs, m^2/s.

    It is the mean over the 12 parts of |v_part - v_torso|^2 after the step, (m/s)^2, times the length of the
    step, frames / 30 s: twice the kinetic energy per kilogram relative to the torso. Flailing limbs cost;
    running fast does not.
    """

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        parts = transition.next_raw.reshape(len(transition.next_raw), len(PARTS), 5)
        velocity = parts[:, :, 3:5].astype(np.float64) * _SPEED_TO_METERS_PER_SECOND
        relative = velocity - velocity[:, PARTS.index("torso"), None]
        return -FRAME_SECONDS * transition.frames * (relative**2).sum(axis=-1).mean(axis=-1)


class Switches:
    """Minus 1 for each step whose keys differ from those of the step before; none in an episode's first step.

    With it a runner that presses keys for single frames learns to hold them, as people do. Keys that have no
    effect, such as W while Q is held, do not count.
    """

    def __init__(self, num_envs: int) -> None:
        self._keys = np.zeros(num_envs, np.uint8)
        self._first_step = np.ones(num_envs, bool)
        self.memory = {"keys": self._keys, "first_step": self._first_step}

    def reset(self, mask: NDArray[np.bool_]) -> None:
        self._first_step |= mask

    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]:
        keys = canonical_keys(transition.keys)
        switched = (keys != self._keys) & ~self._first_step
        self._keys[:] = keys
        self._first_step[:] = False
        return -switched.astype(np.float64)


class KneeRule:
    """Fails an episode whose knee has been near the track for too long.

    Near is closer than `knee_meters`, at the end of each step; too long is `knee_seconds`. None of 38
    finished human runs has a knee within 0.12 m for 1 s; all of them have single frames of it. 0 s within
    0.01 m fails on contact.
    """

    def __init__(self, num_envs: int, knee_seconds: float, knee_meters: float = KNEE_NEAR_METERS) -> None:
        if not knee_seconds >= 0.0:
            raise ValueError(f"knee_seconds is {knee_seconds}: it must be 0 or more (or 'none' for no rule)")
        if not knee_meters > 0.0:
            raise ValueError(f"knee_meters is {knee_meters}: it must be above 0 (0.01 is contact)")
        self._near_meters = knee_meters
        self._limit_frames = knee_seconds / FRAME_SECONDS
        self._near_frames = np.zeros(num_envs, np.int64)
        self.memory = {"near_frames": self._near_frames}

    def reset(self, mask: NDArray[np.bool_]) -> None:
        self._near_frames[mask] = 0

    def __call__(self, transition: Transition) -> NDArray[np.bool_]:
        """Return which games fail in this step, bool [N]. Time counts from the first step that ends near."""
        near_before = knee_clearance(transition.raw).min(axis=1) < self._near_meters
        near = knee_clearance(transition.next_raw).min(axis=1) < self._near_meters
        self._near_frames[:] = np.where(near & near_before, self._near_frames + transition.frames, 0)
        # The tolerance makes 1.0 s equal to 30 frames in spite of the rounding of 1 / 30.
        return near & (self._near_frames >= self._limit_frames - 1e-6)
