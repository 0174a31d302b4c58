from pathlib import Path

import numpy as np
import pytest

from qwop_game import FIELDS, PARTS, denormalize, normalize, raw_from_state

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_raw() -> np.ndarray:
    with np.load(GOLDEN / "glibc-fma_random.npz") as traces:
        return np.concatenate([raw_from_state(traces[f"states_{i}"]) for i in range(24)])


def test_raw_takes_five_of_six_columns_of_a_state():
    state = np.arange(92.0)
    raw = raw_from_state(state).reshape(len(PARTS), len(FIELDS))
    assert raw.dtype == np.float32
    assert raw[0].tolist() == [0, 1, 2, 3, 4]
    assert raw[11].tolist() == [66, 67, 68, 69, 70]


def test_normalize_worked_by_hand():
    raw = np.zeros(60, np.float32)
    raw[:5] = [520 + 53, -5, 3, -20, 102.5]
    # (573 - 520) / 530, -5 / 10, 3 / 6, (-20 - 20) / 40, (102.5 - 17.5) / 42.5 = 2 clipped
    assert normalize(raw)[:5].tolist() == pytest.approx([0.1, -0.5, 0.5, -1, 1])
    assert normalize(raw).dtype == np.float32


def test_normalize_has_qwop_gyms_bits():
    qwop_env = pytest.importorskip("qwop_gym.envs.v1.qwop_env")
    env = qwop_env.QwopEnv(browser_mock=True)
    extremes = np.random.default_rng(0).uniform(-2000, 2000, (20, 60)).astype(np.float32)
    for raw in np.concatenate([golden_raw()[::20], extremes]):
        assert normalize(raw).tobytes() == env._normalize(raw).tobytes()


def test_denormalize_has_qwop_gyms_bits_and_returns():
    qwop_env = pytest.importorskip("qwop_gym.envs.v1.qwop_env")
    env = qwop_env.QwopEnv(browser_mock=True)
    fields = [env.pos_x, env.pos_y, env.angle, env.vel_x, env.vel_y]
    raw = golden_raw()[::20]
    observation = normalize(raw)
    theirs = [[fields[i % 5].denormalize(value) for i, value in enumerate(row)] for row in observation]
    assert denormalize(observation).tobytes() == np.array(theirs, np.float32).tobytes()
    inside = np.abs(observation) < 1
    # float32: x is known to 530 * 6e-8 units
    assert np.abs(denormalize(observation) - raw)[inside].max() < 1e-4


def test_the_raw_array_is_left_alone():
    raw = golden_raw()[:3]
    before = raw.copy()
    normalize(raw)
    assert (raw == before).all()
