"""Play the same keys in both games and compare every number of every frame with ==."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qwop_game.observation import STATE_FIELDS, STATE_GLOBALS, STATE_PARTS, STATE_SIZE, raw_from_state
from qwop_game.real.game import RealGame
from qwop_game.simulator import DEFAULT_TRIG, Simulator

SEED = 20240229
LONGEST = 3000  # frames of a drawn episode
COLUMNS = tuple(f"{part}.{name}" for part in STATE_PARTS for name in STATE_FIELDS) + STATE_GLOBALS


@dataclass
class Parity:
    """Counts of a comparison so far."""

    episodes: int = 0
    frames: int = 0
    values: int = 0
    """Doubles of the games' states that were compared."""
    differing: int = 0
    """Doubles that differ. A frame that only one of the games has counts in full."""
    observations_differing: int = 0
    """float32 numbers of the observations that differ."""
    finished: int = 0
    """Episodes that ended with a landing in the sand."""
    first: str | None = None
    """The first difference: episode, frame, column, both values."""
    ends: list[tuple[int, float, float]] = field(default_factory=list[tuple[int, float, float]])
    """Frames, meters and seconds at the end of each episode."""


def drawn_keys(episode: int, seed: int = SEED, frames: int = LONGEST) -> NDArray[np.uint8]:
    """Draw the keys of one episode, uint8 [frames].

    Each of the first 16 episodes holds one key combination. Later ones draw combinations and how long each is
    held: 1 to 20 frames. Some alternate QP and WO for 4 to 12 frames, with noise, which gets farther.
    """
    if episode < 16:
        return np.full(frames, episode, np.uint8)
    rng = np.random.default_rng([seed, episode])
    keys: list[int] = []
    stride = (9, 6)  # QP, WO
    while len(keys) < frames:
        if episode % 2:
            combination, held = int(rng.integers(16)), int(rng.integers(1, 21))
        else:
            turn = stride[len(keys) // 16 % 2]
            combination = int(rng.integers(16)) if rng.random() < 0.2 else turn
            held = int(rng.integers(4, 13))
        keys += [combination] * held
    return np.array(keys[:frames], np.uint8)


def embedded_states(keys: NDArray[np.uint8], trig: str = DEFAULT_TRIG) -> NDArray[np.float64]:
    """Return the embedded game's states at the start and after each frame, float64 [n + 1, 92]."""
    simulator = Simulator(1, trig=trig)
    rows = [simulator.state[0]]
    for mask in keys:
        simulator.step(np.array([mask], np.uint8))
        rows.append(simulator.state[0])
        if simulator.state[0, COLUMNS.index("game_ended")]:
            break
    simulator.close()
    return np.array(rows)


def real_states(game: RealGame, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the real game's states for the same keys, float64 [n + 1, 92]."""
    game.reset()
    return np.concatenate([game.state, game.run(keys)])


def compare(
    game: RealGame,
    runs: Iterable[NDArray[np.uint8]],
    on_episode: Callable[[Parity], None] | None = None,
) -> Parity:
    """Play each of `runs`, uint8 [T], in both games, with the same trig, and compare all states."""
    total = Parity()
    for keys in runs:
        add(total, real_states(game, keys), embedded_states(keys, game.trig))
        if on_episode is not None:
            on_episode(total)
    return total


def add(total: Parity, real: NDArray[np.float64], embedded: NDArray[np.float64]) -> None:
    """Compare the states of one episode, float64 [n + 1, 92] each, and add the counts to `total`."""
    both = min(len(real), len(embedded))
    different = real[:both] != embedded[:both]
    extra = abs(len(real) - len(embedded)) * STATE_SIZE
    if (different.any() or extra) and total.first is None:
        if different.any():
            frame, column = (int(index) for index in np.argwhere(different)[0])
            values = f"{real[frame, column]!r} real, {embedded[frame, column]!r} embedded"
            total.first = f"episode {total.episodes}, frame {frame}, {COLUMNS[column]}: {values}"
        else:
            total.first = f"episode {total.episodes}: {len(real)} frames real, {len(embedded)} embedded"
    raw_real, raw_embedded = raw_from_state(real[:both]), raw_from_state(embedded[:both])
    total.observations_differing += int((raw_real != raw_embedded).sum())
    total.episodes += 1
    total.frames += len(real) - 1
    total.values += max(len(real), len(embedded)) * STATE_SIZE
    total.differing += int(different.sum()) + extra
    total.finished += bool(real[-1, COLUMNS.index("jump_landed")])
    last = real[-1]
    total.ends.append((len(real) - 1, float(last[0]) / 10, float(last[COLUMNS.index("score_time")])))
