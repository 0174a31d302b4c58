"""Games that several threads share: nothing crashes or hangs, and no thread sees half a step.

A crash or a hang would take the whole test run with it, so each of these runs in a process of its own.
"""

import os
import subprocess
import sys

import pytest

HEADER = """
import copy, sys, threading, time
import numpy as np
import qwop_game
from qwop_game import DisturbedVectorEnv, QWOPEnv, QWOPVectorEnv, Simulator

sys.setswitchinterval(1e-5)
SECONDS = 0.4
problems = []

def hammer(*calls):
    "Calls each again and again in a thread of its own."
    stop = threading.Event()
    def again(call):
        try:
            while not stop.is_set():
                call()
        except Exception as error:
            problems.append(repr(error))
            stop.set()
    threads = [threading.Thread(target=again, args=(call,)) for call in calls]
    for thread in threads: thread.start()
    stop.wait(SECONDS)
    stop.set()
    for thread in threads: thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert not problems, problems
"""


def run(code: str) -> None:
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HEADER + code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(("num_envs", "threads"), [(1, 1), (64, 1), (64, 2)])
def test_every_method_of_a_simulator_from_many_threads(num_envs, threads):
    run(f"""
games = Simulator({num_envs}, stop_at_end=False, threads={threads})
keys = np.full({num_envs}, 5, np.uint8)
mask = np.arange({num_envs}) % 2 == 0
snapshot = games.snapshot()
calls = [
    lambda: games.step(keys), lambda: games.step(keys, 9), games.reset, lambda: games.reset(mask),
    lambda: games.state, games.snapshot,
    lambda: games.restore(snapshot), lambda: games.restore(snapshot, mask),
    lambda: games.teleport(mask, 0.1, 0.0), lambda: games.__reduce__(), lambda: games.raw_observation.sum(),
]
hammer(*calls)
""")


def test_every_method_of_an_environment_from_many_threads():
    run("""
env = QWOPEnv(render_mode="rgb_array", max_frames=200)
env.reset()
hammer(lambda: env.step(4), lambda: env.step(8), lambda: env.reset(seed=3), env.render,
       lambda: copy.deepcopy(env), lambda: env.games.facts(), env.get_keys_to_action)
""")


@pytest.mark.parametrize("make", ["QWOPVectorEnv({})", "DisturbedVectorEnv(QWOPVectorEnv({}))"])
def test_every_method_of_a_vector_environment_from_many_threads(make):
    run(f"""
envs = {make.format('8, render_mode="rgb_array", max_frames=60, threads=2')}
envs.reset(seed=1)
state, actions = envs.get_state(), np.full(8, 4)
hammer(lambda: envs.step(actions), lambda: envs.step(actions * 2), lambda: envs.reset(seed=2),
       envs.render, envs.get_state, lambda: envs.set_state(state), lambda: copy.deepcopy(envs),
       lambda: envs.call("render"), lambda: envs.get_attr("frame_skip"))
""")


def test_pictures_and_steps_are_whole():
    """A picture's posture, clock and keys, and a step's results, belong to one moment."""
    run("""
env = QWOPEnv(frame_skip=7, max_frames=70)
_, info = env.reset()
expected = {info["time"]: info["raw_observation"].tobytes()}
for _ in range(10):
    info = env.step(4)[4]
    expected[info["time"]] = info["raw_observation"].tobytes()
def play():
    with env.lock:
        if env.step(4)[3]: env.reset()
def look():
    raw, dials, _ = env.games.scene(0)
    assert expected[dials.seconds] == raw.tobytes(), dials
    facts = env.games.facts()
    assert expected[facts["time"][0]] == facts["raw_observation"][0].tobytes()
hammer(play, play, look, look)
""")


def test_a_vector_step_plays_its_own_actions():
    run("""
envs = QWOPVectorEnv(4, max_frames=40)
envs.reset()
def plays(action):
    def step():
        infos = envs.step(np.full(4, action))[4]
        assert (infos["_final"]["keys"] == envs.action_masks[action]).all()
    return step
hammer(plays(4), plays(8), plays(0))
""")


@pytest.mark.parametrize("threads", [1, 2])
def test_closing_during_a_step_waits_and_the_next_call_says_so(threads):
    run(f"""
for attempt in range(40):
    games = Simulator(64, threads={threads})
    keys, ends = np.full(64, 5, np.uint8), []
    def play():
        try:
            while True: games.step(keys, 5)
        except ValueError as error:
            ends.append(str(error))
    threads = [threading.Thread(target=play) for _ in range(2)]
    for thread in threads: thread.start()
    time.sleep(0.002)
    games.close()
    for thread in threads: thread.join(30)
    assert ends == ["this Simulator is closed: make a new one"] * 2, ends
env = QWOPEnv(render_mode="rgb_array"); env.reset()
threads = [threading.Thread(target=env.close) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
try: env.step(0); raise SystemExit("it played on")
except ValueError as error: assert "closed" in str(error)
""")


def test_a_signal_handler_may_close_during_a_step():
    run("""
import signal
if not hasattr(signal, "setitimer"): raise SystemExit
for attempt in range(60):
    games, keys = Simulator(2), np.full(2, 5, np.uint8)
    signal.signal(signal.SIGALRM, lambda *_: games.close())
    signal.setitimer(signal.ITIMER_REAL, 0.001 + attempt * 2e-5)
    try:
        while True: games.step(keys); games.snapshot()
    except ValueError as error:
        assert "closed" in str(error)
""")


def test_the_interpreter_may_end_while_a_daemon_thread_steps():
    run("""
games, keys = Simulator(256, stop_at_end=False, threads=2), np.full(256, 5, np.uint8)
def play():
    while True: games.step(keys, 50)
threading.Thread(target=play, daemon=True).start()
time.sleep(0.1)
""")


def test_a_fork_while_another_thread_steps():
    """The child can step and close what a thread of its parent was stepping."""
    run("""
import os
if not hasattr(os, "fork"): raise SystemExit
games, keys = Simulator(64, threads=2), np.full(64, 5, np.uint8)
def play():
    try:
        while True: games.step(keys, 5)
    except ValueError: pass
thread = threading.Thread(target=play)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        games.reset(); games.step(keys, 3)
        expected = Simulator(64); expected.step(keys, 3)
        same = (games.state == expected.state).all()
        games.close()
        os._exit(0 if same else 1)
    deadline = time.time() + 30
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid: break
        if time.time() > deadline:
            os.kill(child, 9); games.close(); raise SystemExit("the child hangs")
        time.sleep(0.001)
    if status: games.close(); raise SystemExit(f"the child ended with {status}")
games.close()
thread.join()
""")


def test_threads_share_a_renderer():
    run("""
from qwop_game.render import Renderer
renderer, raw = Renderer(), Simulator().raw_observation[0]
picture = renderer.rgb_array(raw)
def draws():
    assert (renderer.rgb_array(raw) == picture).all()
hammer(draws, draws, draws)
""")
