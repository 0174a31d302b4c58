from .config import RecordConfig
from .errors import RecorderError
from .key_events import KeyEvent, KeyQueue
from .loop import TimingReport
from .personal_best import PersonalBest
from .phases import Command, Phase
from .recorder import RecordResult, record
from .session import Session, SessionOptions
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
    "RecordResult",
    "RecorderError",
    "Session",
    "SessionOptions",
    "TimingReport",
    "Window",
    "record",
]
