"""A policy of somebody else, for `--python`: it has a memory, and knows nothing of this project."""


def make_walker():
    count = 0

    def act(observation):
        nonlocal count
        assert observation.shape[0] > 60
        count += 1
        return (5, 7)[count // 3 % 2]

    return act


def make_broken():
    raise RuntimeError("no weights here")
