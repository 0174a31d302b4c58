"""What both training loops share: devices, vector environments, episode statistics."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv

Precision = Literal["auto", "float32", "bfloat16"]
T = TypeVar("T")
PRECISIONS: tuple[str, ...] = get_args(Precision)


class TrainingError(Exception):
    """Training cannot start or go on. The message is one line for the user."""


def select_device(name: str) -> torch.device:
    """The device of that name; auto: CUDA where there is some, else the CPU. Raises TrainingError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name!r} is not available here; use auto or cpu") from error
    return device


def select_precision(name: Precision, device: torch.device) -> torch.dtype:
    """What hidden layers compute in. auto: bfloat16 where the device has units for it, else float32.

    Those are AMX in a CPU and the tensor cores of a GPU since Ampere. Elsewhere, AVX512-BF16 included,
    bfloat16 is slower than float32.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)  # PyTorch before 2.6 cannot tell
        fast = device.type == "cpu" and has_amx is not None and has_amx()
    return torch.bfloat16 if fast else torch.float32


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors give back, for the next ones; for the whole process.

    glibc otherwise returns and fetches the same megabytes at every operation, and every page of them costs a
    fault, for which two threads wait in line. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h  # noqa: N806
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        mallopt(parameter, 1 << 30)  # bytes


@contextmanager
def side_by_side(threads: int, device: torch.device) -> Iterator[Executor | None]:
    """Share `threads` CPU threads (0: as many as PyTorch would use) between two networks that learn at once.

    Yields who works beside the caller; each then has half of the threads for itself, so one and two threads
    give the same bits. None where there is but one thread, or where a GPU does the work. Two networks this
    small are better served thus than both by all threads in turn, which wait for each other at every layer.
    """
    before = torch.get_num_threads()
    threads = threads or before
    beside = threads > 1 and device.type == "cpu"
    torch.set_num_threads(threads // 2 if beside else threads)
    try:
        if beside:
            with ThreadPoolExecutor(1) as executor:
                yield executor
        else:
            yield None
    finally:
        torch.set_num_threads(before)


def start_call(beside: Executor | None, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """Start a call beside the caller, or make it now where nobody is; returns what waits for its result."""
    if beside is None:
        result = function(*arguments)
        return lambda: result
    return beside.submit(function, *arguments).result


def check_spaces(envs: VectorEnv, num_envs: int, feature_size: int, num_actions: int) -> None:
    """Raises TrainingError unless the environments and the network fit each other."""
    observation, action = envs.single_observation_space, envs.single_action_space
    if not isinstance(action, gymnasium.spaces.Discrete):
        raise TrainingError(f"the environment's actions are {action}; only Discrete actions can be learnt")
    if not isinstance(observation, gymnasium.spaces.Box) or len(observation.shape) != 1:
        raise TrainingError(f"the environment's observations are {observation}; a flat Box is needed")
    if envs.num_envs != num_envs:
        raise TrainingError(f"{envs.num_envs} environments were made, the configuration says {num_envs}")
    if observation.shape[0] != feature_size:
        raise TrainingError(
            f"the environment gives {observation.shape[0]} features, the network takes {feature_size}"
        )
    if action.n != num_actions:
        raise TrainingError(f"the environment has {action.n} actions, the network {num_actions}")


def final_observations(
    infos: Mapping[str, Any], ended: np.ndarray, next_observation: np.ndarray
) -> np.ndarray:
    """The observation that really followed each step.

    A vector environment resets an ended episode in the same step, so `next_observation` already belongs to
    the next one there; the final observation is in `infos`: an object array under "final_observation"
    (gymnasium 0.29), or an array [N, D] under infos["_final"]["observation"].

    ended: bool [N], the environments whose final observation is wanted; next_observation: [N, D]
    returns: [N, D], next_observation itself where nothing ended, else a copy
    """
    if not ended.any():
        return next_observation
    followed = next_observation.copy()
    final = infos.get("_final")
    if final is not None:
        followed[ended] = final["observation"][ended]
    else:
        followed[ended] = np.stack(infos["final_observation"][ended])
    return followed


def final_scalars(infos: Mapping[str, Any], ended: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers that the environment says of the episodes that ended in this step, {name: [number ended]}.

    Read from infos["_final"] (arrays [N]; unsigned ones are codes, not amounts, and left out)
    or, in gymnasium's form, from the dicts under "final_info".
    """
    final = infos.get("_final")
    if final is not None:
        return {
            k: v[ended]
            for k, v in final.items()
            if isinstance(v, np.ndarray) and v.ndim == 1 and v.dtype.kind in "bif"
        }
    if "final_info" not in infos:
        return {}
    dicts = list(infos["final_info"][ended])
    plain = (bool, int, float, np.number, np.bool_)
    names = [
        name for name, value in dicts[0].items() if isinstance(value, plain) and all(name in d for d in dicts)
    ]
    return {name: np.array([d[name] for d in dicts], np.float64) for name in names}


class EpisodeStatistics:
    """Returns and lengths of the episodes in progress, and means over those that ended since `flush`."""

    def __init__(self, num_envs: int):
        self.episode_return = np.zeros(num_envs)
        self.episode_length = np.zeros(num_envs, np.int64)
        self._ended: dict[str, list[np.ndarray]] = {}

    def step(self, reward: np.ndarray, ended: np.ndarray, infos: Mapping[str, Any]) -> None:
        """reward: float [N]; ended: bool [N], terminated or truncated."""
        self.episode_return += reward
        self.episode_length += 1
        if not ended.any():
            return
        figures = final_scalars(infos, ended)
        figures |= {"return": self.episode_return[ended], "length": self.episode_length[ended]}
        for name, values in figures.items():
            self._ended.setdefault(name, []).append(np.asarray(values, np.float64))
        self.episode_return[ended] = 0.0
        self.episode_length[ended] = 0

    def flush(self) -> dict[str, float]:
        """{"episode/count": ..., "episode/return": mean, ...} of the episodes ended, then forget them."""
        figures = {f"episode/{name}": float(np.concatenate(v).mean()) for name, v in self._ended.items()}
        figures["episode/count"] = float(sum(len(v) for v in self._ended.get("return", [])))
        self._ended.clear()
        return figures


def environment_state(envs: VectorEnv) -> dict[str, np.ndarray] | None:
    """Everything that `restore_environment` needs, or None where the environment cannot tell.

    An environment that can is one with `get_state() -> dict[str, ndarray]` and `set_state(state)`. Without
    them a resumed training starts new episodes and is no longer equal, bit for bit, to an uninterrupted one.
    """
    get_state = getattr(envs, "get_state", None)
    return None if get_state is None else dict(get_state())


def restored(array: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The array, writable, in the place of one of the same kind. Raises ValueError where it is of another."""
    if array.shape != before.shape or array.dtype != before.dtype:
        raise ValueError(
            f"{array.dtype} {list(array.shape)} is stored, {before.dtype} {list(before.shape)} needed"
        )
    return array.copy()


def restore_environment(envs: VectorEnv, state: Mapping[str, np.ndarray]) -> None:
    envs.set_state(dict(state))  # pyright: ignore[reportAttributeAccessIssue]
