from .cli import load_runs, write_video
from .html import page
from .playback import play_in_window
from .race import Race
from .runs import ReplayedRun
from .video import VideoError, VideoWriter

__all__ = [
    "Race",
    "ReplayedRun",
    "VideoError",
    "VideoWriter",
    "load_runs",
    "page",
    "play_in_window",
    "write_video",
]
