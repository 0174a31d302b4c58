"""What a group of players may ask of one server."""

from dataclasses import dataclass

from qwop_recorder.errors import RecorderError


@dataclass(frozen=True)
class Limits:
    """Limits of `qwop-record --web --players`; each player is one invitation."""

    minutes_per_run: float = 10.0
    """Longest run. What is played beyond is not recorded."""
    hours_per_player: float = 10.0
    """Play that one invitation may record until the server ends."""
    away_minutes: float = 15.0
    """A player who is away for longer loses nothing, but the run under way is kept as one cut short."""
    connections: int = 1000
    """Connections at once, with those that have shown no token yet."""
    free_gb: float = 1.0
    """Nothing is accepted while the disk has less room."""

    def __post_init__(self) -> None:
        for name in ("minutes_per_run", "hours_per_player", "away_minutes", "connections", "free_gb"):
            value = getattr(self, name)
            if not value > 0:
                flag = f"--limits.{name.replace('_', '-')}"
                raise RecorderError(f"{flag} {value:g}: give more than 0")

    @property
    def frames_per_run(self) -> int:
        """Of the longest run."""
        return round(self.minutes_per_run * 60 * 30)

    @property
    def frames_per_player(self) -> int:
        """Of all runs of a player."""
        return round(self.hours_per_player * 3600 * 30)


class Bucket:
    """A token bucket: so much at once, so much a second; who takes more has to wait.

    Args:
        rate: Units a second.
        size: Units at once.
    """

    def __init__(self, rate: float, size: float) -> None:
        self._rate = rate
        self._size = size
        self._left = size
        self._at = 0.0

    def take(self, units: float, now: float) -> float:
        """Take units at a time, s; returns for how long to wait, s."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate) - units
        self._at = now
        return max(0.0, -self._left / self._rate)
