"""Invitations to a group's server: one secret for each player, and what the player agreed to.

FILE.invitations beside the dataset holds them, readable for its owner alone. So links stay valid when the
server is started again.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

from qwop_datasets import DatasetError, name_problem, replace_file
from qwop_recorder.errors import RecorderError

_FORMAT = "qwop-invitations"


@dataclass
class Invitation:
    """A player, known by a secret."""

    number: int
    """From 1 on; 0 is the screen, which only sees the table."""
    token: str
    player: str = ""
    """The name, once the player has chosen one."""
    license: str = ""
    """The license that the player has agreed to."""
    agreed: str = ""
    """When: ISO 8601, UTC."""

    @property
    def plays(self) -> bool:
        """Whether it is a player's, not the screen's."""
        return self.number > 0


class JoinError(Exception):
    """The name or the consent is not acceptable; one line for the player."""


class Invitations:
    """The invitations of a dataset.

    Args:
        path: The dataset.
        count: Players to invite. There may be more in the file: they stay invited.

    Raises:
        RecorderError: The file is damaged, or can't be written.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path = path.with_name(path.name + ".invitations")
        self._all = self._read() if self.path.exists() else [Invitation(0, secrets.token_urlsafe(24))]
        before = len(self._all)
        while len(self._all) <= count:
            number = 1 + max(invitation.number for invitation in self._all)
            self._all.append(Invitation(number, secrets.token_urlsafe(24)))
        self._by_digest = {_digest(invitation.token): invitation for invitation in self._all}
        if len(self._all) > before or before == 1:
            self.save()

    def __iter__(self) -> Iterator[Invitation]:
        return iter(self._all)

    def find(self, token: str) -> Invitation | None:
        """Find the invitation of a secret.

        The look-up is by the secret's hash, so its time says nothing about how much of a guess is right.
        """
        digest = _digest(token)
        found = self._by_digest.get(digest)
        same = hmac.compare_digest(_digest(found.token) if found else b"", digest)
        return found if same else None

    def join(self, invitation: Invitation, player: str, license: str, wanted: str) -> None:
        """Note a player's name and consent in memory; `save` stores them. The first name stays.

        Raises:
            JoinError: No name, one that is taken or can't be stored, or another license than `wanted`.
        """
        if license != wanted:
            raise JoinError(f"to be recorded, agree to the license {wanted}")
        if not invitation.player:
            player = " ".join(unicodedata.normalize("NFC", player).split())
            if not player:
                raise JoinError("choose a name")
            if problem := name_problem(player):
                raise JoinError(problem)
            if any(other.player.casefold() == player.casefold() for other in self._all):
                raise JoinError("another player has this name: choose another")
            invitation.player = player
        if invitation.license != license:
            invitation.license = license
            invitation.agreed = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def save(self) -> None:
        """Write the file; all of it or nothing.

        Raises:
            RecorderError: It can't be written.
        """
        content = {"format": _FORMAT, "version": 1, "invitations": [asdict(one) for one in self._all]}
        aside = self.path.with_name(f"{self.path.name}.new-{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(content, file, ensure_ascii=False, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                replace_file(aside, self.path)
            finally:
                aside.unlink(missing_ok=True)
        except (OSError, DatasetError) as error:
            raise RecorderError(f"{self.path}: {getattr(error, 'strerror', None) or error}") from None

    def _read(self) -> list[Invitation]:
        try:
            self.path.chmod(0o600)
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or content["version"] != 1:
                raise ValueError("its format is another")
            found = [Invitation(**row) for row in content["invitations"]]
            for one in found:
                texts = [getattr(one, field.name) for field in fields(one) if field.name != "number"]
                if type(one.number) is not int or not all(isinstance(text, str) for text in texts):
                    raise ValueError("a field is of another kind")
                if not re.fullmatch(r"[\w-]{16,128}", one.token, re.ASCII):
                    raise ValueError(f"the token of invitation {one.number} is malformed")
            numbers = [one.number for one in found]
            if len(set(numbers)) < len(numbers) or len({one.token for one in found}) < len(found):
                raise ValueError("two invitations have the same number or token")
            if 0 not in numbers or min(numbers) < 0:
                raise ValueError("invitation 0, the screen's, is missing")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            said = " ".join(str(error).split())[:160]
            raise RecorderError(
                f"{self.path}: not a file of invitations ({said}); mend it, or move it away and invite anew"
            ) from None
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
