"""Submissions: made, verified, refused. What hostile files try is here."""

import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from files import ROOT, WALKER, File, change_keys, key_of

from qwop_benchmark import (
    SCOREBOARD_SEEDS,
    SubmissionError,
    drawn_seeds,
    read_submission,
    verify,
    verify_entry,
)
from qwop_benchmark.arrays import save_arrays
from qwop_benchmark.cli import main as qwop_benchmark
from qwop_benchmark.submission import MAX_BYTES
from qwop_datasets import DatasetReader, verify_episodes
from qwop_evaluation import shipped_policy_path
from qwop_rl_core import load_checkpoint, save_checkpoint

RECORDS = "demos/records.h5"
BROKEN = "walker:make_broken"


def refused(path, said, capsys, *words):
    assert qwop_benchmark(["verify", str(path), *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and said in captured.err, captured.err
    assert captured.out == ""


def test_the_record_scores_what_its_time_says(submissions, capsys):
    verified = verify(read_submission(submissions["run"]))
    assert verified.score == 50 + 50 * 1364 / 1110 and verified.interval is None
    assert verified.median_seconds == pytest.approx(37.0667, abs=1e-4)
    assert qwop_benchmark(["verify", str(submissions["run entry"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["frames"] == 1110


def test_a_policy_is_played_on_seeds_of_its_own_sha256(submissions):
    submission = read_submission(submissions["policy"])
    verified, entry = verify(submission), verify_entry(submissions["policy entry"])
    assert [run.seed for run in verified.episodes] == drawn_seeds(submission.sha256)
    assert [run.score for run in verified.episodes] == [run.score for run in entry.episodes]
    assert len(verified.episodes) == 100 and verified.finished >= 95
    other = verify(submission, salt="drawn later")
    assert {run.seed for run in other.episodes}.isdisjoint(drawn_seeds(submission.sha256))


def test_seeds_are_drawn_as_documented():
    seeds = drawn_seeds("0" * 64)
    assert seeds[0] == 2**32 + int.from_bytes(hashlib.sha256(b"0" * 64 + b"::0").digest(), "big") % (
        2**53 - 2**32
    )
    assert len(set(seeds)) == 100 and all(seed in SCOREBOARD_SEEDS for seed in seeds)
    assert drawn_seeds("0" * 64, "x")[0] != seeds[0] != drawn_seeds("1" * 64)[0]


def test_recorded_keys_are_on_seeds_of_the_commitment(submissions):
    submission = read_submission(submissions["recorded"])
    assert submission.seeds() == drawn_seeds(submission.commitment)
    verified = verify(submission)
    assert [run.score for run in verified.episodes] == submission.scores


def test_the_same_submission_has_the_same_bytes(submissions, tmp_path):
    again = tmp_path / "again"
    words = ["10m-v1", "--policy", str(ROOT / "demos" / "policy.safetensors"), "--name", "somebody's"]
    assert qwop_benchmark(["submit", *words, "--out", str(again)]) == 0
    assert again.read_bytes() == submissions["policy"].read_bytes()


def test_a_forgotten_budget_is_refused(tmp_path, capsys):
    tensors, metadata = load_checkpoint(ROOT / "demos" / "policy.safetensors")
    trained, out = tmp_path / "trained.safetensors", tmp_path / "o"
    save_checkpoint(trained, tensors, {**metadata, "training": {"steps": 500_000}})
    words = ["submit", "10m-v1", "--policy", str(trained), "--name", "x", "--out", str(out)]
    assert qwop_benchmark([*words, "--decisions", "499999"]) == 2
    assert "was trained for 500000" in capsys.readouterr().err and not out.exists()
    assert qwop_benchmark([*words, "--decisions", "5e5"]) == 0
    assert read_submission(out).budget.decisions == 500_000


@pytest.mark.parametrize("kind", ["run", "recorded"])
def test_an_edited_score(submissions, tmp_path, capsys, kind):
    file = File(submissions[kind])
    file.about["scores"][0] += 0.25
    refused(file.write(tmp_path / "edited"), "claims a score of", capsys)


@pytest.mark.parametrize(
    ("kind", "said"), [("run entry", "not those of the replay"), ("policy entry", "not those of the replay")]
)
def test_an_edited_score_of_an_entry(submissions, tmp_path, capsys, kind, said):
    file = File(submissions[kind])
    file.about["scores"][0] += 1e-9
    refused(file.write(tmp_path / "edited"), said, capsys)
    file.about["scores"] = "all"
    refused(file.write(tmp_path / "edited"), said, capsys)


def test_edited_keys_differ_at_a_frame(submissions, tmp_path, capsys):
    file = File(submissions["run"])
    change_keys(file, 0, 300, 9)
    refused(file.write(tmp_path / "edited"), "at frame", capsys)
    file = File(submissions["recorded"])
    change_keys(file, 7, 1, 15)
    refused(file.write(tmp_path / "edited"), "change at frame 1, within a decision of 4 frames", capsys)


def test_keys_that_the_policy_does_not_choose(submissions, tmp_path, capsys):
    """Keys found by a search that knows the seeds, in the place of the policy's own."""
    file = File(submissions["policy entry"])
    lengths = file.arrays["lengths"]
    last = int(lengths[4]) - 1  # the run is over after this frame, whatever is held
    start = int(lengths[:4].sum()) + last
    byte = int(file.arrays["keys"][start // 2])
    held = byte & 15 if start % 2 == 0 else byte >> 4
    change_keys(file, 4, last, 5 if held == 10 else 10)
    refused(file.write(tmp_path / "searched"), f"at frame {last} the policy chooses other keys", capsys)


def test_frames_beyond_the_end_and_the_limit(submissions, tmp_path, capsys):
    file = File(submissions["run"])
    for frames, said in (
        (1300, "is over at frame 1110"),
        (6001, "ends after 6000"),
        (1100, "not over there"),
    ):
        longer, keys = np.zeros((frames + 1) // 2, np.uint8), file.arrays["keys"]
        longer[: len(keys)] = keys[: len(longer)]
        changed = File(submissions["run"])
        changed.arrays |= {"keys": longer, "lengths": np.array([frames], np.int64)}
        refused(changed.write(tmp_path / "longer"), said, capsys)


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        ("run", "task", "100m-v2", "this release has 100m-v1"),
        ("run", "task", "nonsense", "choose one of"),
        ("run", "task", "hurdle-v1", "episode 0"),
        ("run", "kind", "policy", "a tensor is not of the network"),
        ("run", "kind", "recorded", "of (1,) runs, expected 100"),
        ("policy", "kind", "run", "the tensors are not keys and lengths"),
        ("run", "kind", ["run"], "kind is ['run']"),
        ("run", "format", 2, "format 2; this release reads 1"),
        ("run", "name", "a\nb", "can't be printed"),
        ("run", "name", "x" * 65, "at most 64"),
        ("run", "name", 5, "the name is empty"),
        ("run", "scores", [True], "a score is no number"),
        ("run", "scores", [10**400], "a score is no number"),
        ("run", "scores", [-1e7], "a score is no number"),
        ("run", "scores", [1.0, 2.0], "2 scores"),
        ("run", "scores", {}, "scores is no list"),
        ("run", "budget", {"decisions": -1}, "no whole number"),
        ("run", "budget", {"decisions": 1e400}, "not a file of qwop-benchmark"),
        ("run", "budget", {"free": 1}, "entries other than"),
        ("run", "texts", {"note": "x" * 301}, "at most 300"),
        ("run", "texts", {"note": "\x1b[2J"}, "printable"),
        ("run", "frame_skip", 0, "frame_skip"),
        ("run", "action_set", "none", "action_set"),
        ("recorded", "files", {"a": "b"}, "SHA-256"),
        ("recorded", "files", {}, "only a recorded policy names its files"),
        ("recorded", "frame_skip", 3, "change at frame"),
        ("policy", "policy", {}, "metadata lacks"),
        ("policy", "frame_skip", 2, "differ from those of the policy"),
        ("policy", "scores", [100.0], "claims no scores"),
        ("run", "surprise", 1, "the entries are not"),
    ],
)
def test_wrong_entries(submissions, tmp_path, capsys, kind, name, value, said):
    file = File(submissions[kind])
    file.about[name] = value
    refused(file.write(tmp_path / "wrong"), said, capsys)


def test_another_name_is_another_commitment(submissions, tmp_path, capsys):
    file = File(submissions["recorded"])
    file.about["name"] = "somebody else"
    refused(file.write(tmp_path / "renamed"), "(seed ", capsys)


def test_a_start_of_another_seed(submissions, tmp_path, capsys):
    """The keys of one episode in the place of another: they begin at other starts."""
    file = File(submissions["recorded"])
    file.about["files"] = {"policy": "0" * 64}
    refused(file.write(tmp_path / "other"), "(seed ", capsys)


@pytest.mark.parametrize("lengths", [[-5], [2**62], [2**63 - 1], [0]])
def test_lengths_that_do_not_fit(submissions, tmp_path, capsys, lengths):
    file = File(submissions["run"])
    file.arrays["lengths"] = np.array(lengths, np.int64)
    refused(file.write(tmp_path / "lengths"), "the lengths say", capsys)


def test_keys_of_another_type(submissions, tmp_path, capsys):
    file = File(submissions["run"])
    for wrong in (file.arrays["keys"].astype(np.float32), file.arrays["keys"].astype(np.int64)):
        file.arrays["keys"] = wrong
        refused(file.write(tmp_path / "keys"), "the keys are not uint8", capsys)


def test_lengths_whose_sum_overflows(submissions, tmp_path, capsys):
    file = File(submissions["recorded"])
    total = int(file.arrays["lengths"].sum())
    file.arrays["lengths"][:3] = [2**62, 2**62, 2**62]
    file.arrays["lengths"][3] = total - int(file.arrays["lengths"][4:].sum()) + 2**62
    refused(file.write(tmp_path / "lengths"), "the lengths say", capsys)


def test_a_network_with_other_weights_or_sizes(submissions, tmp_path, capsys):
    file = File(submissions["policy"])
    name = next(n for n in file.arrays if n.endswith("weight"))
    whole = file.arrays[name]
    for changed, said in (
        (whole[:-1], "shape"),
        (whole.astype(np.float64), "float64"),
        (np.full_like(whole, np.nan), "not finite"),
    ):
        file.arrays[name] = changed
        refused(file.write(tmp_path / "network"), said, capsys)
    file.arrays[name] = whole
    file.about["policy"]["hidden"] = [10**9, 10**9]
    refused(file.write(tmp_path / "network"), "more weights than the file has", capsys)


def test_files_of_other_kinds(tmp_path, capsys, submissions):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    def torch_file(path):
        import torch

        torch.save({"network": Code()}, path)

    def bomb(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("keys.npy", b"\0" * (64 << 20))

    def chunks(path):
        with h5py.File(path, "w") as file:
            file.create_dataset("keys", (1 << 40,), "u1", chunks=(1 << 30,))

    def npz(path):
        with path.open("wb") as file:
            np.savez(file, keys=np.array([Code()], dtype=object))

    for name, make in {
        "pickle": lambda path: path.write_bytes(pickle.dumps(Code())),
        "torch": torch_file,
        "zip bomb": bomb,
        "HDF5": chunks,
        "empty": lambda path: path.write_bytes(b""),
        "npz": npz,
        "cut": lambda path: path.write_bytes(submissions["run"].read_bytes()[:-7]),
        "longer": lambda path: path.write_bytes(submissions["run"].read_bytes() + b"\0"),
        "checkpoint": lambda path: path.write_bytes((ROOT / "demos" / "policy.safetensors").read_bytes()),
    }.items():
        path = tmp_path / name
        make(path)
        refused(path, "not a file of qwop-benchmark", capsys)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"__metadata__": {"qwop_benchmark": "' + b"[" * 90_000 + b'"}}',
        b'{"__metadata__": 5}',
        b'{"__metadata__": {"qwop_benchmark": "{\\"a\\": NaN}"}}',
        b'{"__metadata__": {"qwop_benchmark": "5"}}',
        b"\xff" * 50,
        b'{"__metadata__":{"qwop_benchmark":"{}"},"keys":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,8]}}',
        b'{"__metadata__":{"qwop_benchmark":"{}"},"keys":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}',
    ],
)
def test_hostile_headers(tmp_path, capsys, header):
    path = tmp_path / "header"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    refused(path, "not a file of qwop-benchmark", capsys)


def test_a_header_that_claims_to_be_huge(tmp_path, capsys):
    path = tmp_path / "header"
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    refused(path, "not a file of qwop-benchmark", capsys)


def test_huge_files_pipes_folders_and_nothing(tmp_path, capsys):
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)  # no byte of it is on the disk, and none is read
    refused(huge, f"at most {MAX_BYTES} are read", capsys)
    refused(tmp_path, "not a regular file", capsys)
    refused(tmp_path / "nothing", "No such file", capsys)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", "not a regular file", capsys)


def test_salts(submissions, capsys):
    refused(submissions["run"], "can't have a salt", capsys, "--salt", "x")
    refused(submissions["policy"], "at most 64 characters", capsys, "--salt", "x" * 65)
    refused(submissions["policy entry"], "is an entry already", capsys, "--salt", "x")


def test_the_table_has_verified_entries_only(submissions, tmp_path, capsys):
    folder = tmp_path / "scoreboard"
    folder.mkdir()
    for name in ("policy entry", "run entry", "recorded entry"):
        (folder / submissions[name].name).write_bytes(submissions[name].read_bytes())
    page = tmp_path / "page.md"
    page.write_text(
        "# Results\n\n<!-- scoreboard -->\n<!-- end of scoreboard -->\n\nEnd.\n", encoding="utf-8"
    )
    table = ["table", str(folder), "--page", str(page)]
    assert qwop_benchmark([*table, "--check"]) == 1
    assert qwop_benchmark(table) == 0
    assert qwop_benchmark([*table, "--check"]) == 0
    rows = page.read_text(encoding="utf-8").splitlines()[5:8]
    assert [row.split(" | ")[0] for row in rows] == ["| 100m-v1", "| 10m-v1", "| hurdle-v1"]
    assert " 111.4 | 1 of 1 | 37.07 s | " in rows[0] and "somebody&#39;s" in rows[0]

    page.write_text(page.read_text(encoding="utf-8").replace("111.4", "116.7"), encoding="utf-8")
    assert qwop_benchmark([*table, "--check"]) == 1

    capsys.readouterr()
    refused(submissions["run"], "expected NAME.entry.safetensors", capsys, "--entry", str(folder / "mine"))
    copied = File(submissions["run"])
    copied.about["name"] = "my own"
    entry = str(folder / "copied.entry.safetensors")
    assert qwop_benchmark(["verify", str(copied.write(tmp_path / "copied")), "--entry", entry]) == 0
    capsys.readouterr()
    assert qwop_benchmark(["table", str(folder)]) == 2
    assert "a duplicate of" in capsys.readouterr().err

    # W has no effect beside Q, and the last frame's keys have none on the score
    frames = int(copied.arrays["lengths"][0])
    first = next(i for i in range(frames) if key_of(copied, i) & 3 == 1)
    for frame, mask in ((first, key_of(copied, first) | 2), (frames - 1, key_of(copied, frames - 1) ^ 8)):
        change_keys(copied, 0, frame, mask)
        assert qwop_benchmark(["verify", str(copied.write(tmp_path / "copied")), "--entry", entry]) == 0
        capsys.readouterr()
        assert qwop_benchmark(["table", str(folder)]) == 2
        assert "a duplicate of" in capsys.readouterr().err

    file = File(folder / "copied.entry.safetensors")
    file.arrays["submission"] = file.arrays["submission"][:-9]
    file.write(folder / "copied.entry.safetensors")
    assert qwop_benchmark(["table", str(folder)]) == 2
    assert "copied.entry.safetensors: not a file of qwop-benchmark" in capsys.readouterr().err


def test_entries_are_no_submissions_and_keys_beside_keys(submissions, tmp_path, capsys):
    file = File(submissions["run entry"])
    file.arrays["keys"] = np.zeros(4, np.uint8)
    refused(file.write(tmp_path / "more"), "keys beside those", capsys)
    file = File(submissions["policy entry"])
    del file.arrays["keys"]
    refused(file.write(tmp_path / "less"), "has no keys", capsys)
    with pytest.raises(SubmissionError, match="the entries are not"):
        read_submission(submissions["run entry"])
    with pytest.raises(SubmissionError, match="not an entry"):
        verify_entry(submissions["run"])
    path = tmp_path / "array"
    path.write_bytes(save_arrays({"submission": np.zeros(3)}, '{"entry": 1, "salt": "", "scores": []}'))
    refused(path, "has no submission", capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "100m-v1"], "Missing required argument"),
        (["run", "100m-v3", "--random"], "this release has 100m-v1"),
        (["run", "100m-v1", "--random", "--episodes", "0"], "expected 1 or more"),
        (["run", "100m-v1", "--random", "--frame-skip", "0"], "frame_skip is 0"),
        (["run", "hurdle-v1", "--random", "--save", "x.h5"], "from the start line"),
        (["run", "100m-v1", "--policy", "nothing"], "no such checkpoint"),
        (["run", "100m-v1", "--python", "nothing:here"], "expected MODULE:FUNCTION"),
        (["run", "100m-v1", "--python", "os:name"], "is no function"),
        (
            ["run", "100m-v1", "--python", BROKEN],
            "RuntimeError: no weights here",
        ),
        (["submit", "100m-v1", "--name", "x", "--out", "o", "--python", "a:b"], "needs --file"),
        (["run", "100m-v1", "--random", "--action-set", "none"], "action_set"),
        (["submit", "100m-v1", "--name", "", "--out", "o", "--keys", RECORDS], "name is empty"),
        (
            ["submit", "hurdle-v1", "--name", "x", "--out", "o", "--keys", RECORDS],
            "start 0 of hurdle",
        ),
        (
            [
                "submit",
                "100m-v1",
                "--name",
                "x",
                "--out",
                "o",
                "--keys",
                RECORDS,
                "--episode",
                "9",
            ],
            "has runs 0 to 4",
        ),
        (["table", "docs"], "no files"),
        (["table", "docs", "--check"], "--check needs --page"),
        (["data", "human"], "the license"),
        (["data", "nothing"], "choose one of"),
    ],
)
def test_mistakes_end_in_one_line(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    words = [str(tmp_path / word) if word in ("o", "x.h5") else word for word in words]
    assert qwop_benchmark(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and said in captured.err, captured.err
    assert not (tmp_path / "o").exists()


def test_every_named_file_is_committed_to(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    files = [tmp_path / name for name in ("code.py", "weights.npz")]
    for file in files:
        file.write_text(file.name, encoding="utf-8")
    out = tmp_path / "theirs.safetensors"
    words = ["submit", "10m-v1", "--python", WALKER, "--name", "walker", "--out", str(out)]
    for file in files:
        words += ["--file", str(file)]
    assert qwop_benchmark([*words, "--action-set", "full"]) == 0, capsys.readouterr().err
    submission = read_submission(out)
    assert set(submission.files) == {"code.py", "weights.npz"} and submission.action_set == "full"


def test_run_saves_what_it_played(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["run", "10m-v1", "--python", WALKER, "--episodes", "3"]
    assert qwop_benchmark([*words, "--save", str(tmp_path / "runs.h5"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 3
    with DatasetReader(tmp_path / "runs.h5") as runs:
        assert [run.provenance["seed"] for run in runs] == [0, 1, 2]
        assert all(check.exact for check in verify_episodes(list(runs)))


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_its_order(tmp_path, capsys, monkeypatch):
    """With the example of use.md as mine.py, and the shipped policy as runner.safetensors."""
    use, submit = ((ROOT / "docs/benchmark" / name).read_text("utf-8") for name in ("use.md", "submit.md"))
    example = re.search(r"```python\n(def make_policy.*?)```", use, re.DOTALL)
    assert example is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demos").mkdir()
    shutil.copy(ROOT / RECORDS, tmp_path / "demos")
    shutil.copy(shipped_policy_path(), "runner.safetensors")
    Path("mine.py").write_text(example[1], encoding="utf-8")
    Path("weights.npz").write_bytes(b"weights")
    commands = re.findall(r"^    qwop-benchmark (.+)$", submit, re.MULTILINE)
    commands = [words for words in commands if "benchmark/scoreboard" not in words]
    assert len(commands) == 7
    for words in commands:
        assert qwop_benchmark(shlex.split(words)) == 0, (words, capsys.readouterr().err)
    assert read_submission(Path("theirs.safetensors")).files.keys() == {"mine.py", "weights.npz"}
