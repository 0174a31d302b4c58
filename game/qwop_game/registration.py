"""Register "qwop_game/QWOP-v0" and "qwop_game/QWOP-real-v0" with Gymnasium."""

from gymnasium.envs import registration

ENV_ID = "qwop_game/QWOP-v0"
REAL_ENV_ID = "qwop_game/QWOP-real-v0"


def register_env() -> None:
    """Register both environments once. `import qwop_game` and Gymnasium's plugin entry point call it."""
    if ENV_ID not in registration.registry:
        registration.register(
            id=ENV_ID,
            entry_point="qwop_game.env:QWOPEnv",
            vector_entry_point="qwop_game.vector_env:QWOPVectorEnv",
        )
    if REAL_ENV_ID not in registration.registry:
        registration.register(id=REAL_ENV_ID, entry_point="qwop_game.real.env:QWOPRealEnv")
