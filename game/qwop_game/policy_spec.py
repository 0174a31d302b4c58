"""How a policy plays the game: its observation, its action set and the frames of one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game.encoder import FEATURE_SIZE, FEATURE_VERSION
from qwop_game.keys import ACTION_SETS, action_masks

OBSERVATION = "features"
"""The observation that policies of this project see: see `encode`."""


@dataclass(frozen=True)
class PolicySpec:
    """How a policy plays the game. A checkpoint stores it in its metadata.

    Raises:
        ValueError: the action set is unknown, or the frame skip is not a whole number of 1 or more.
    """

    action_set: str = "distinct"
    """Name of the action set; action i holds key mask `action_masks[i]`."""
    frame_skip: int = 4
    """Frames that one decision lasts."""

    def __post_init__(self) -> None:
        if not isinstance(self.action_set, str) or self.action_set not in ACTION_SETS:
            raise ValueError(f"action_set is {self.action_set!r}, expected one of {', '.join(ACTION_SETS)}")
        if type(self.frame_skip) is not int or self.frame_skip < 1:
            raise ValueError(f"frame_skip is {self.frame_skip!r}, expected a whole number of 1 or more")

    @property
    def action_masks(self) -> NDArray[np.uint8]:
        """Key mask of each action, uint8 [A]."""
        return action_masks(self.action_set)

    def metadata(self) -> dict[str, Any]:
        """Return the entries of a checkpoint's metadata: action set, frame skip, observation, sizes."""
        return {
            "action_set": self.action_set,
            "frame_skip": self.frame_skip,
            "observation": OBSERVATION,
            "feature_version": FEATURE_VERSION,
            "feature_size": FEATURE_SIZE,
            "num_actions": len(self.action_masks),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> PolicySpec:
        """Read the spec of a checkpoint and check that this release can play it.

        Args:
            metadata: metadata of the checkpoint; other entries are ignored.

        Returns:
            The spec.

        Raises:
            ValueError: an entry is missing or invalid, or the policy was made for another encoding of the
                observation. The message is one line that names the first such entry.
        """
        spec = cls(metadata.get("action_set"), metadata.get("frame_skip"))  # pyright: ignore[reportArgumentType]
        for name, expected in spec.metadata().items():
            if metadata.get(name) != expected:
                raise ValueError(
                    f"{name} is {metadata.get(name)!r}, expected {expected!r}: "
                    "the policy was made for another release; train it again with this one"
                )
        return spec

    def require(self, action_set: str | None = None, frame_skip: int | None = None) -> None:
        """Check that the policy plays as the caller does.

        Args:
            action_set: expected action set; None: any.
            frame_skip: expected frames per decision; None: any.

        Raises:
            ValueError: one of them differs. The message is one line.
        """
        for name, expected in {"action_set": action_set, "frame_skip": frame_skip}.items():
            if expected is not None and getattr(self, name) != expected:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {expected!r}")
