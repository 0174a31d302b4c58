"""One player of a group: the invitation at play, and where its runs go."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Change, Recording, SharedJournal
from qwop_recorder.web_http import Connection
from qwop_recorder.web_invitations import Invitation
from qwop_recorder.web_limits import Bucket
from qwop_recorder.web_session import PageSession
from qwop_recorder.web_storing import owned_id

CHANGES_PER_SECOND, CHANGES_AT_ONCE = 1000, 3000
"""What one player may send. Play has 30 to 60 a second; a page that was cut off sends the rest faster."""


class Player:
    """One invitation at play: at most one session and one connection."""

    def __init__(self, invitation: Invitation) -> None:
        self.invitation = invitation
        self.session: PageSession | None = None
        self.session_id = ""
        self.connection: Connection | None = None
        self.bucket = Bucket(CHANGES_PER_SECOND, CHANGES_AT_ONCE)
        self.frames = 0  # of the sessions before this one, and of runs that were sent as a whole
        self.attempts = 0  # of the sessions before this one
        self.seen = 0.0  # when the connection ended, on the loop's clock
        self.sending = False  # a run as a whole
        self.page_ids: dict[str, str] = {}  # episode -> the page's name of it, until it is in the file

    @property
    def frames_played(self) -> int:
        """Frames of all runs."""
        return self.frames + (self.session.frames if self.session else 0)

    @property
    def provenance(self) -> dict[str, str | int | float | bool]:
        """What is stored with each run."""
        invitation = self.invitation
        return {"invitation": invitation.number, "license": invitation.license, "agreed": invitation.agreed}

    def rename(self, page_id: str) -> str:
        """The id of the episode that the page calls so."""
        episode_id = owned_id(self.invitation.token, page_id)
        self.page_ids[episode_id] = page_id
        return episode_id

    def end_session(self) -> None:
        """Keep the run under way as one cut short."""
        session, self.session = self.session, None
        if session is not None:
            self.frames += session.frames
            self.attempts += session.attempts
            session.close()


class PlayerRuns:
    """The runs of one player (see `web_session.Runs`).

    Args:
        player: The player.
        journal: The journal of all players.
        fields: What is known of every run, see Recording.
        keep: Takes a run that is to enter the file.
    """

    def __init__(
        self,
        player: Player,
        journal: SharedJournal,
        fields: Mapping[str, Any],
        keep: Callable[[Player, Recording], None],
    ) -> None:
        self._player = player
        self._journal = journal
        self._fields = fields
        self._keep = keep
        self._known: Recording | None = None  # a run that waits for the file already, from an earlier session

    def recording(self, raw_observation: NDArray[np.float32], time: float) -> Recording:
        """Make the recording of a run."""
        return Recording(raw_observation, time, **self._fields)

    def begin(self, run: Recording) -> None:
        """Store the start of a run."""
        if run.id in self._journal:
            self._known = run
        else:
            self._journal.begin(run)

    def write(self, run: Recording, *changes: Change) -> None:
        """Store changes that were added to the run."""
        if run is not self._known:
            self._journal.write(run, *changes)

    def drop(self, run: Recording) -> None:
        """Throw the run away."""
        if run is not self._known:
            self._player.page_ids.pop(run.id, None)
            self._journal.done(run)

    def keep(self, run: Recording) -> dict[str, Any]:
        """Hand the run on; the news that it is in the file comes later."""
        if run is not self._known:
            self._keep(self._player, run)
        return {}
