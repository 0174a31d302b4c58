"""Gait figures from raw observations: see `GaitMetrics` for every definition."""

from qwop_gait.metrics import (
    KNEE_NEAR_METRES,
    UPRIGHT_PELVIS_METRES,
    UPRIGHT_TILT_RADIANS,
    GaitMetrics,
    foot_contacts,
    gait_metrics,
    gait_metrics_of_runs,
    knee_near,
    longest_run,
    pooled,
    touchdowns,
    upright,
)

__all__ = [
    "KNEE_NEAR_METRES",
    "UPRIGHT_PELVIS_METRES",
    "UPRIGHT_TILT_RADIANS",
    "GaitMetrics",
    "foot_contacts",
    "gait_metrics",
    "gait_metrics_of_runs",
    "knee_near",
    "longest_run",
    "pooled",
    "touchdowns",
    "upright",
]
