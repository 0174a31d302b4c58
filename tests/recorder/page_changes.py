"""What a page sends to a recorder, and a page's side of the conversation."""

import asyncio
import base64
import hashlib
import json

import aiohttp
import numpy as np

from qwop_datasets import replay_keys

KEYS = np.repeat(np.array([0, 9, 6, 0, 10, 5], np.uint8), 8)
PLAY = [["event", 1.0, 1, True, "page"], ["frame", 1, 1.1, 0.001], ["event", 1.15, 1, False, "page"]]


def begin(number=0, **changes):
    about = {
        "id": f"{number:032x}",
        "created": "2026-11-29T12:00:00.000Z",
        "clock_offset": 1.7e9,
        "trig": "rounded",
        "player": "Zoë",
    }
    return ["begin", about | changes]


def run_of(number=0, keys=KEYS):
    """The changes of a run that is kept."""
    (played,) = replay_keys([keys])
    digest = hashlib.sha256(played.raw_observations.tobytes()).hexdigest()
    frames = [["frame", int(k), 2 + i / 30, 0.001] for i, k in enumerate(keys)]
    about = {
        "observations_sha256": digest,
        "license": "CC0-1.0",
        "pace": [[0, 1]],
        "players": [[0, "person"]],
    }
    return [begin(number), *frames, ["end"], ["keep", about]]


def talk(address, token, *messages, session="s", origin=None, host=None):
    """Answers to the messages, and the close code; None: the websocket was refused."""

    async def run():
        headers = {"Origin": origin or address.rstrip("/")} | ({"Host": host} if host else {})
        async with aiohttp.ClientSession() as client:
            try:
                socket = await client.ws_connect(address + "record", headers=headers)
            except aiohttp.WSServerHandshakeError as error:
                return [], error.status
            await socket.send_json({"token": token, "session": session})
            answers = []
            for message in [None, *messages]:
                if message is not None:
                    await (
                        socket.send_str(message) if isinstance(message, str) else socket.send_json(message)
                    )
                while True:
                    answer = await socket.receive(timeout=20)
                    if answer.type != aiohttp.WSMsgType.TEXT:
                        return answers, socket.close_code
                    answers.append(json.loads(answer.data))
                    if "stored" in answers[-1]:
                        break
            await socket.close()
            return answers, None

    return asyncio.run(run())


def record_of(number=0, keys=KEYS, **changes):
    """The file of a run, as the page sends it as a whole."""
    (played,) = replay_keys([keys])
    values = {
        "format": "qwop-run",
        "version": 1,
        "id": f"{number:032x}",
        "created": "2026-11-29T12:00:00.000Z",
        "player": "somebody",
        "license": None,
        "trig": "rounded",
        "keys": base64.b64encode(keys.tobytes()).decode(),
        "events": [],
        "instants": (2 + np.arange(len(keys)) / 30).tolist(),
        "lateness": [0.001] * len(keys),
        "clock_offset": 1.7e9,
        "rewinds": [],
        "discarded_keys": "",
        "pace": [[0, 1]],
        "players": [[0, "person"]],
        "observations_sha256": hashlib.sha256(played.raw_observations.tobytes()).hexdigest(),
    }
    return values | changes
