"""Register the tasks with Gymnasium: "qwop_benchmark/QWOP-100m-v1" and so on."""

from __future__ import annotations

from gymnasium.envs import registration

from qwop_benchmark.tasks import TASKS


def register_tasks() -> None:
    """Register every task once. Gymnasium's plugin entry point calls it."""
    for task in TASKS.values():
        if task.env_id not in registration.registry:
            registration.register(
                id=task.env_id,
                entry_point="qwop_benchmark.env:TaskEnv",
                vector_entry_point="qwop_benchmark.env:TaskVectorEnv",
                kwargs={"task": task.id},
            )
