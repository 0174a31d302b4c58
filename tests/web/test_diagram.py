"""What the page's diagrams show of a run, against the numbers of the replay page, which Python computes."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from qwop_datasets import DatasetReader
from qwop_replay import ReplayedRun
from qwop_replay import page as replay_page

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.real_game


@pytest.mark.parametrize("number", [0, 3])
def test_both_pages_show_the_same_gait(page, number):
    with DatasetReader(ROOT / "demos" / "records.h5") as reader:
        episode = reader[number]
    text = replay_page([ReplayedRun("record", episode)], "record")
    (data,) = re.findall(r"^const PAGE = (.*);$", text, re.MULTILINE)
    (expected,) = json.loads(data)["runs"]

    def decoded(name, dtype):
        return np.frombuffer(base64.b64decode(expected[name]), dtype)

    shown = page.run(
        """
        const { seriesOf } = await import("./gait.js"), [keys, trig] = arguments;
        const { contacts, knees, pitch, speed } = seriesOf(page.engine, keys, trig, "red");
        return { contacts, knees, pitch, speed };
        """,
        episode.keys.tolist(),
        episode.trig,
    )
    assert shown["contacts"] == decoded("contacts", np.uint8).tolist()
    assert {0, 1, 2, 3} <= {contact & 3 for contact in shown["contacts"]}
    assert shown["knees"] == pytest.approx(decoded("knee_clearance", np.float32), abs=1e-6)
    assert shown["pitch"] == pytest.approx(decoded("torso_pitch", np.float32), abs=1e-4)
    assert shown["speed"] == pytest.approx(decoded("speed", np.float32), abs=1e-5)


def test_the_replay_page_holds_the_play_pages_diagrams(tmp_path):
    module = (ROOT / "web" / "qwop_web" / "page" / "diagram.js").read_text(encoding="utf-8")
    assert not re.findall(r"^import ", module, re.MULTILINE)  # it stands in a script that is no module
    with DatasetReader(ROOT / "demos" / "records.h5") as reader:
        text = replay_page([ReplayedRun("record", reader[0])], "record")
    assert re.sub(r"^export ", "", module, flags=re.MULTILINE) in text
    assert "/*DIAGRAM*/" not in text
