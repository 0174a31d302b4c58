"""The package's public names: complete, and imported only when used."""

import subprocess
import sys
from pathlib import Path

import pytest

import qwop_rl_core


def test_every_public_name_resolves():
    assert set(qwop_rl_core.__all__) <= set(dir(qwop_rl_core))
    for name in qwop_rl_core.__all__:
        assert getattr(qwop_rl_core, name) is not None
    with pytest.raises(AttributeError, match="attribute '?PPO"):
        _ = qwop_rl_core.PPO  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_does_not_import_torch():
    code = (
        "import sys, qwop_rl_core\n"
        "assert 'torch' not in sys.modules\n"
        "qwop_rl_core.NumpyPolicy, qwop_rl_core.CheckpointError, qwop_rl_core.load_header\n"
        "assert 'torch' not in sys.modules\n"
        "qwop_rl_core.PPOConfig\n"
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_is_marked_as_typed():
    assert (Path(qwop_rl_core.__file__).parent / "py.typed").exists()
