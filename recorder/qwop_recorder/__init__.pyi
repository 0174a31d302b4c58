from .cli import RecordConfig, record
from .errors import RecorderError
from .key_events import KeyEvent, KeyQueue
from .session import Command, PersonalBest, Phase, Session, SessionOptions
from .storage import EpisodeStore
from .window import Window

__all__ = [
    "Command",
    "EpisodeStore",
    "KeyEvent",
    "KeyQueue",
    "PersonalBest",
    "Phase",
    "RecordConfig",
    "RecorderError",
    "Session",
    "SessionOptions",
    "Window",
    "record",
]
