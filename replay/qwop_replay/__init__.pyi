from .coaching import Coaching, coach
from .html import page
from .playback import play_in_window
from .race import Race
from .real_game import play_live, write_real_video
from .runs import ReplayedRun
from .show import describe, load_runs, replay, write_video
from .video import VideoError, VideoWriter

__all__ = [
    "Coaching",
    "Race",
    "ReplayedRun",
    "VideoError",
    "VideoWriter",
    "coach",
    "describe",
    "load_runs",
    "page",
    "play_in_window",
    "play_live",
    "replay",
    "write_real_video",
    "write_video",
]
