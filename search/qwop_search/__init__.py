"""Search over keys for the fastest run: a beam of runs that a policy proposes."""

from qwop_search.beam import BeamConfig, BeamSearch, Found, Progress, States
from qwop_search.search import Best, SearchConfig, episode, search

__all__ = [
    "BeamConfig",
    "BeamSearch",
    "Best",
    "Found",
    "Progress",
    "SearchConfig",
    "States",
    "episode",
    "search",
]
