"""Protocol P: small random disturbances to judge a policy with. docs/guides/evaluation.md says why.

Everything random in an episode comes from its own seed s, drawn from numpy's default_rng(s) in this order:
first integers(0, 30), the idle frames at the start; then, for every decision, two uniform numbers. If the
first is below 0.02, the previous action is held once more. The second picks the action of a sampled policy.
So an episode is the same whether it is played alone or among a thousand, and a sampled and an argmax policy
meet the same disturbances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Episode
from qwop_evaluation.lookahead import Lookahead, Planner
from qwop_evaluation.player import Player
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, MAX_IDLE_FRAMES, REPEAT_PROBABILITY, GameBatch, Simulator
from qwop_game.real import RealGame

MAX_SECONDS = 200.0
"""Time limit of an episode, s: four times a good run."""
BATCH = 128
"""Episodes that are played side by side."""


@dataclass(frozen=True)
class Disturbance:
    """All random draws of one episode of D decisions."""

    idle_frames: int
    """Frames without keys at the start."""
    repeats: NDArray[np.bool_]
    """Whether decision k repeats the previous action, [D]."""
    choices: NDArray[np.float64]
    """Uniform number in [0, 1) that picks the action of a sampled policy at decision k, [D]."""

    @classmethod
    def drawn(cls, seed: int, decisions: int, perturbed: bool = True) -> Disturbance:
        """Draw protocol P's disturbances of one episode.

        Args:
            seed: seed of the episode.
            decisions: number of decisions, D.
            perturbed: if not, there are no idle frames and no repeats; `choices` stay the same.
        """
        generator = np.random.default_rng(seed)
        idle_frames = int(generator.integers(0, MAX_IDLE_FRAMES + 1))
        uniform = generator.random((decisions, 2))
        repeats = uniform[:, 0] < REPEAT_PROBABILITY
        if not perturbed:
            idle_frames, repeats = 0, np.zeros(decisions, bool)
        return cls(idle_frames, repeats, uniform[:, 1])


def choose(
    scores: NDArray[np.floating[Any]], uniform: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Choose actions by their scores.

    Args:
        scores: logits, or action values, [N, A].
        uniform: numbers in [0, 1), [N], to draw from softmax(scores): the first action whose cumulative
            probability exceeds the number. None: take the best action.

    Returns:
        Actions, int64 [N].
    """
    if uniform is None:
        return scores.argmax(axis=1)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    cumulative = weights.cumsum(axis=1)
    below = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.minimum(below, scores.shape[1] - 1)  # a number next to 1 may round to it


def play(
    player: Player,
    seeds: Sequence[int],
    sample: bool = False,
    perturbed: bool = True,
    max_seconds: float = MAX_SECONDS,
    on_frame: Callable[[int, int], None] | None = None,
    game: RealGame | None = None,
    lookahead: Lookahead | None = None,
    trig: str = DEFAULT_TRIG,
    into: list[Episode] | None = None,
    temperature: float = 1.0,
) -> list[Episode]:
    """Play one episode per seed under protocol P.

    Args:
        player: the policy.
        seeds: one per episode, each 0 or more.
        sample: draw actions from the policy's distribution; otherwise take the best one. A player whose
            scores are action values always takes the best one.
        perturbed: with protocol P's idle frames and repeats. Without them and without sampling, all episodes
            are the same.
        max_seconds: time limit, s. An episode that reaches it is `truncated`.
        on_frame: called after each frame with (frames played, episodes over).
        game: the real game, which plays one episode after the other; None: the embedded game.
        lookahead: simulate continuations in the embedded game before acting. `sample` then has no effect.
        trig: variant of sine and cosine of the embedded game, see `Simulator`. The real game has its own.
        into: list that collects the episodes. When an exception ends the play, it has those that are over.
        temperature: what logits are divided by before actions are drawn, above 0.

    Returns:
        Episodes in the order of seeds. Their `provenance` has seed, idle_frames, protocol and frame_skip.

    Raises:
        ValueError: a negative seed, a time limit shorter than the idle frames, or a temperature of 0 or less.
        RealGameError: the real game can't be started, or was closed.
    """
    if any(seed < 0 for seed in seeds):
        raise ValueError(f"seed {min(seeds)} is negative: seeds are 0 or more")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be above 0")
    max_frames = round(max_seconds / FRAME_SECONDS)
    if max_frames <= MAX_IDLE_FRAMES:
        raise ValueError(f"max_seconds is {max_seconds}: it must be above 1, the longest idle start")
    if game is not None:
        trig = game.trig
    episodes = [] if into is None else into
    side_by_side = BATCH if game is None else 1
    for first in range(0, len(seeds), side_by_side):
        batch = seeds[first : first + side_by_side]

        def report(frame: int, over: int, before: int = first) -> None:
            if on_frame is not None:
                on_frame(frame, before + over)

        planner = None if lookahead is None else Planner(player, lookahead, batch)
        drawn = temperature if sample and player.samples and planner is None else None
        _play_batch(player, batch, drawn, perturbed, max_frames, report, game, planner, episodes, trig)
    return episodes


def _play_batch(
    player: Player,
    seeds: Sequence[int],
    temperature: float | None,
    perturbed: bool,
    max_frames: int,
    on_frame: Callable[[int, int], None],
    game: RealGame | None,
    planner: Planner | None,
    episodes: list[Episode],
    trig: str,
) -> None:
    """Play the episodes of some seeds side by side. `temperature`: None takes the best action."""
    n = len(seeds)
    most_decisions = -(-max_frames // player.frame_skip)
    disturbances = [Disturbance.drawn(seed, most_decisions, perturbed) for seed in seeds]
    idle_frames = np.array([d.idle_frames for d in disturbances])
    repeats = np.stack([d.repeats for d in disturbances])
    choices = np.stack([d.choices for d in disturbances])

    # One frame a step: decisions of different episodes fall on different frames.
    games = GameBatch(n, 1, player.action_set, "features", max_frames, "auto", game, trig=trig)
    simulator = games.simulator
    games.reset()
    # Plans are made in the embedded game. It plays along when the episode is in the real game.
    provenance = {"trig_source": "engine"} if game is None else game.provenance()
    world = games.simulator if isinstance(games.simulator, Simulator) else Simulator(1, trig=trig)
    held = np.zeros(n, np.uint8)  # keys of the current decision; 0 while idle
    length = np.zeros(n, np.int64)
    playing, ended, won = np.ones(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    keys: list[NDArray[np.uint8]] = []
    raw = [simulator.raw_observation.copy()]
    times = [simulator.time.copy()]

    try:
        while playing.any():
            frame = len(keys)
            decision, phase = np.divmod(frame - idle_frames, player.frame_skip)
            deciding = np.flatnonzero(playing & (frame >= idle_frames) & (phase == 0))
            # A repeat leaves `held` as it is: the previous action, once more.
            repeated = repeats[deciding, decision[deciding]]
            if planner is not None:
                planner.disturbed(deciding[repeated])
            deciding = deciding[~repeated]
            if len(deciding) and planner is not None:
                held[deciding] = games.action_masks[
                    planner.actions(deciding, world, games.hip_mode, games.keys)
                ]
            elif len(deciding):
                scores = player.scores(games.observations(deciding))
                if temperature is None:
                    actions = choose(scores)
                else:
                    actions = choose(scores / temperature, choices[deciding, decision[deciding]])
                held[deciding] = games.action_masks[actions]
            _, terminated, truncated = games.step(held)
            if world is not simulator:
                world.step(held)
            keys.append(held.copy())
            raw.append(simulator.raw_observation.copy())
            times.append(simulator.time.copy())

            over = playing & (terminated | truncated)
            length[over] = frame + 1
            ended |= over & terminated
            won |= over & games.success
            playing &= ~over
            on_frame(frame + 1, n - int(playing.sum()))
    finally:  # Keep the episodes that are over if an exception ends the others.
        if length.any():
            all_keys, all_raw, all_times = np.stack(keys), np.stack(raw), np.stack(times)
            episodes += [
                Episode(
                    keys=all_keys[:frames, i],
                    raw_observations=all_raw[: frames + 1, i],
                    times=all_times[: frames + 1, i],
                    terminated=bool(ended[i]),
                    truncated=not ended[i],
                    success=bool(won[i]),
                    source="policy" if planner is None else "search",
                    player=player.name,
                    action_set=player.action_set,
                    game="embedded" if game is None else "real",
                    trig=world.trig,
                    provenance={
                        **provenance,
                        "protocol": "P" if perturbed else "unperturbed",
                        "seed": int(seeds[i]),
                        "idle_frames": int(idle_frames[i]),
                        "frame_skip": player.frame_skip,
                        "sampled": temperature is not None,
                        **({} if temperature in (None, 1.0) else {"temperature": temperature}),
                        **({} if planner is None else planner.provenance(i)),
                        "engine": simulator.engine,
                    },
                )
                for i, frames in enumerate(length.tolist())
                if frames
            ]
