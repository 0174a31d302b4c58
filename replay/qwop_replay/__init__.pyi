from .coaching import Coaching, coach
from .html import page
from .playback import play_in_window
from .race import Race
from .real_game import RealReplay, play_live, replay_in_real_game, write_real_video
from .runs import ReplayedRun
from .show import describe, load_runs, replay, write_video
from .video import VideoError, VideoWriter
from .web import runs_file, show_in_page

__all__ = [
    "Coaching",
    "Race",
    "RealReplay",
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
    "replay_in_real_game",
    "runs_file",
    "show_in_page",
    "write_real_video",
    "write_video",
]
