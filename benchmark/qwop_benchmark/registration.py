"""Register the tasks with Gymnasium: "qwop_benchmark/QWOP-100m-v1" and so on."""

from __future__ import annotations

from qwop_benchmark.tasks import TASKS


def register_tasks() -> None:
    """Register every task once. Importing the package does, and so does Gymnasium 0.29's entry point."""
    from gymnasium.envs import registration  # 0.29 imports this module in its own import

    for task in TASKS.values():
        if task.env_id not in registration.registry:
            registration.register(
                id=task.env_id,
                entry_point="qwop_benchmark.env:TaskEnv",
                vector_entry_point="qwop_benchmark.env:TaskVectorEnv",
                kwargs={"task": task.id},
            )
