from .cli import load_runs, write_video
from .html import page
from .playback import play_in_window
from .race import Race
from .runs import Run
from .video import VideoError, VideoWriter

__all__ = [
    "Race",
    "Run",
    "VideoError",
    "VideoWriter",
    "load_runs",
    "page",
    "play_in_window",
    "write_video",
]
