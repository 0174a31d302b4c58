"""QWOP for LeRobot's EnvHub. Needs `pip install qwop-stride`.

from lerobot.envs.factory import make_env
envs = make_env("USER/NAME", n_envs=8, trust_remote_code=True)["qwop"][0]
"""

from qwop_game.envhub import make_env

__all__ = ["make_env"]
