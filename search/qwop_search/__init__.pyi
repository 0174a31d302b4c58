from .beam import BeamConfig, BeamSearch, Found, Progress, States
from .loop import Best, SearchConfig, episode, search

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
