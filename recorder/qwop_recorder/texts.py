"""Texts of a session, for the recorder's window and the real game's page."""

import math

from qwop_game import FRAME_SECONDS
from qwop_recorder.phases import Phase
from qwop_recorder.session import Session


def counts(session: Session) -> str:
    """Return the number of the run, and how many are kept."""
    text = f"run {session.attempts}"
    if not session.practice:
        wanted = f" of {session.options.episodes}" if session.options.episodes else ""
        text += f", {session.kept}{wanted} kept"
    return text


def title(session: Session) -> str | None:
    """Describe the current phase; None during play."""
    phase, run = session.phase, session.run
    if phase is Phase.COUNTDOWN:
        return str(max(1, math.ceil(session.countdown_seconds - 1e-6)))
    if phase is Phase.PAUSED:
        return "Paused"
    if phase is Phase.ENDED:
        return f"100 m in {run.time:.2f} s" if run.success else f"Fell at {run.distance:.1f} m"
    if phase is Phase.REWOUND:
        return f"{(run.num_frames - session.cursor) * FRAME_SECONDS:.1f} s back"
    return None


def help_lines(session: Session) -> list[str]:
    """List the keys that have an effect now."""
    seconds = f"{session.options.rewind:g} s"
    if session.enough:
        keep = "keep it and finish"
    elif session.practice or session.reject:
        keep = "next run"
    else:
        keep = "keep it, next run"
    lines = {
        Phase.COUNTDOWN: ["hold your first keys  |  ESC  finish"],
        Phase.PLAYING: [f"SPACE  pause  |  R  start over  |  LEFT  {seconds} back"],
        Phase.PAUSED: [f"SPACE  continue  |  R  start over  |  LEFT  {seconds} back", "ESC  finish"],
        Phase.ENDED: [f"SPACE  {keep}  |  BACKSPACE  discard it", f"LEFT  {seconds} back  |  ESC  finish"],
        Phase.REWOUND: [
            f"SPACE  take over from here  |  LEFT, RIGHT  {seconds}",
            "R  start over  |  ESC  keep it, finish",
        ],
        Phase.DONE: [],
    }[session.phase]
    if session.can_discard and session.phase in (Phase.COUNTDOWN, Phase.PAUSED):
        lines[-1] += "  |  BACKSPACE  discard the previous run"
    return lines
