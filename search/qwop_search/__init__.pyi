from .beam import BeamConfig, BeamSearch, Found, SearchProgress, States
from .loop import Best, SearchConfig, episode, search

__all__ = [
    "BeamConfig",
    "BeamSearch",
    "Best",
    "Found",
    "SearchConfig",
    "SearchProgress",
    "States",
    "episode",
    "search",
]
