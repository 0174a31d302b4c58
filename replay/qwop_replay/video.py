"""Names of qwop_datasets.video that belong to this package's interface."""

from qwop_datasets.video import VideoError, VideoWriter

__all__ = ["VideoError", "VideoWriter"]
