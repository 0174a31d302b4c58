"""Fixtures of the trainers' tests."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """PyTorch on one thread: results do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
