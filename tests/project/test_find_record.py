"""`demos/find_record.py`: search and cloning in turn, each step once."""

import pytest

from qwop_datasets import DatasetReader, segment_lengths
from qwop_evaluation import shipped_policy_path
from qwop_game import canonical_keys
from qwop_rl_core import load_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture
def find_record(load_demo, monkeypatch):
    module = load_demo("find_record")
    monkeypatch.setattr(module, "LOOK_AHEAD", "--lookahead --candidates 2 --max-seconds 12 --seed 20000")
    monkeypatch.setattr(module, "PASSES", "--passes-along 0 --one-per-pass --width 4 --children 4 --meters 5")
    monkeypatch.setattr(module, "CLONE", module.CLONE.replace("--epochs 6", "--epochs 1 --play-episodes 1"))
    monkeypatch.setattr(module, "LAST", "--width 4 --children 4 --meters 5 --keep 2")
    return module


def test_each_search_has_the_policy_that_learned_from_the_one_before(find_record, tmp_path, capsys):
    out = tmp_path / "a folder"
    command = ["--policy", str(shipped_policy_path()), "--out", str(out), "--seed", "3", "--rounds", "2"]
    command += ["--lookahead-episodes", "1", "--passes", "2", "--frames", "20000", "--hold", "3"]
    assert find_record.main(command) == 0, capsys.readouterr().err
    made = {path.name for path in out.iterdir()}
    networks = ["policy-0", "clone-1", "policy-1", "clone-2", "policy-2"]
    assert made == {"commands.json", "lookahead.h5", "logs", "learned-2.h5", "records.h5"} | {
        "runs-1.h5",
        "runs-2.h5",
        *(f"{name}.safetensors" for name in networks),
    }
    found = {name: load_checkpoint(out / f"{name}.safetensors").metadata for name in networks}
    assert [found[name]["critic"]["runs"] for name in networks] == [1, 1, 3, 3, 5]
    assert found["policy-2"]["made"]["init"] == str(out / "policy-1.safetensors")
    with DatasetReader(out / "learned-2.h5") as learned, DatasetReader(out / "records.h5") as records:
        assert len(learned) == 4
        assert records[0].verified == "exact" and records[0].distance >= 5
        for run in [*learned, *records]:
            assert segment_lengths(canonical_keys(run.keys))[:-1].min() >= 3

    # All is done: nothing is repeated. What is missing is made again.
    before = (out / "records.h5").read_bytes()
    capsys.readouterr()
    assert find_record.main(command) == 0
    assert "$ qwop-" not in capsys.readouterr().out
    assert (out / "records.h5").read_bytes() == before
    (out / "policy-2.safetensors").write_bytes(b"damaged")
    (out / "records.h5").unlink()
    assert find_record.main(command) == 2
    assert "not a readable checkpoint" in capsys.readouterr().err
    (out / "policy-2.safetensors").unlink()
    assert find_record.main(command) == 0
    printed = capsys.readouterr().out
    assert "$ qwop-policy" in printed and "$ qwop-search" in printed and "$ qwop-bc" not in printed


def test_mistakes_are_one_line(find_record, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    assert find_record.main(["--out", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("find_record: --out") and error.count("\n") == 1
    assert find_record.main(["--rounds", "0"]) == 2
    assert capsys.readouterr().err == "find_record: --rounds 0: expected 1 or more\n"
