"""Files made to do harm, or that broke on the way: one line each, no code run, no other file read."""

import importlib.util
import json
import os
import re
import resource
import struct
import subprocess
import sys
import textwrap
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qwop_datasets import DatasetError, DatasetReader, Episode, convert, storage, untrusted, write_dataset
from qwop_datasets.checks import check_file
from qwop_datasets.cli import main
from qwop_datasets.compact import write_compact_dataset
from qwop_datasets.exact_replay import replay_keys
from qwop_datasets.journal import Journal, journal_path, read_journal
from qwop_datasets.recording import Frame, Recording

FRAMES = 40
HUGE = 1 << 40


def episode(seed=0, **changes):
    keys = np.random.default_rng(seed).integers(0, 16, FRAMES).astype(np.uint8)
    (played,) = replay_keys([keys])
    values: dict[str, Any] = {
        "keys": keys,
        "raw_observations": played.raw_observations,
        "times": played.times,
        "terminated": False,
        "truncated": True,
        "success": False,
        "source": "script",
        "provenance": {"seed": seed},
        "rewards": {"default": np.zeros(FRAMES)},
    }
    return Episode(**(values | changes))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "runs.h5"
    write_dataset(path, [episode(0), episode(1)])
    assert main(["split", str(path), "--fraction", "0.5"]) == 0
    return path


def refused(path, message):
    """Reading any of it, or all of it, is one DatasetError that says so."""
    with pytest.raises(DatasetError, match=message) as error:
        list(DatasetReader(path))
    assert "\n" not in str(error.value)
    assert any(re.search(message, str(problem)) for problem in _problems(path))


def _problems(path):
    try:
        return check_file(path)
    except DatasetError as error:
        return [error]


def replaced(path, name, **how):
    with h5py.File(path, "r+") as file:
        del file[name]
        parent, _, last = name.rpartition("/")
        parent = file[parent] if parent else file
        if "link" in how:
            parent[last] = how["link"]
        else:
            parent.create_dataset(last, **how)


# ---- HDF5: other files ---------------------------------------------------------------------------------

SECRET = "secret.h5"


@pytest.fixture
def secret(tmp_path):
    """A good dataset beside the hostile one, which that tries to have read."""
    path = tmp_path / SECRET
    write_dataset(path, [episode(2), episode(3)])
    return path


@pytest.mark.parametrize(
    "name", ["index", "episodes", "episodes/000001", "episodes/000001/keys", "masks/train"]
)
@pytest.mark.parametrize("link", ["external", "soft"])
def test_links_are_not_followed(path, secret, name, link):
    target = {"external": h5py.ExternalLink(SECRET, f"/{name}"), "soft": h5py.SoftLink("/elsewhere")}[link]
    with h5py.File(path, "r+") as file:
        file.copy(name, file, "elsewhere")
    replaced(path, name, link=target)
    refused(path, "is a link; links are not followed")


def test_data_in_another_file_are_not_read(path, tmp_path):
    (tmp_path / "keys.bin").write_bytes(bytes(FRAMES))
    plan = {"shape": (FRAMES,), "dtype": "u1"}
    replaced(path, "episodes/000000/keys", external=[(str(tmp_path / "keys.bin"), 0, FRAMES)], **plan)
    refused(path, "keys has its data in another file")


def test_virtual_datasets_are_not_read(path, secret):
    layout = h5py.VirtualLayout((FRAMES,), "u1")
    layout[:] = h5py.VirtualSource(SECRET, "episodes/000000/keys", (FRAMES,))
    with h5py.File(path, "r+") as file:
        del file["episodes/000000/keys"]
        file["episodes/000000"].create_virtual_dataset("keys", layout)
    refused(path, "keys has its data in another file")


def test_no_command_copies_from_another_file(path, tmp_path):
    """Members that the format does not name are kept, but not filled from elsewhere."""
    (tmp_path / "secret").write_bytes(b"SECRET" * 10)
    with h5py.File(path, "r+") as file:
        group = file["episodes/000000"]
        group.create_dataset("extra", (60,), "u1", external=[(str(tmp_path / "secret"), 0, 60)])
        group["more"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
    for arguments in (["edit", path, "--tag", "x"], ["merge", tmp_path / "m.h5", path]):
        assert main([str(a) for a in arguments]) == 0
    for made in (path, tmp_path / "m.h5"):
        assert b"SECRET" not in made.read_bytes()


# ---- HDF5: memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, (1 << 20,)])
@pytest.mark.parametrize("name", ["index", "masks/train", "episodes/000000/keys", "episodes/000000/times"])
def test_a_declared_size_is_checked(path, name, chunks):
    with h5py.File(path) as file:
        dtype = file[name].dtype
    replaced(path, name, shape=(HUGE,), dtype=dtype, chunks=chunks)
    refused(path, f"{name.rpartition('/')[2]} declares [0-9]+ bytes, more than a file of this size can hold")


def test_a_chunk_larger_than_its_array(path):
    plan = {"shape": (FRAMES,), "maxshape": (None,), "dtype": "u1", "compression": "gzip"}
    replaced(path, "episodes/000000/keys", chunks=(1 << 30,), **plan)
    refused(path, "keys declares [0-9]+ bytes")


def test_a_chunk_that_inflates_without_end(path):
    compressor = zlib.compressobj(9)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(200)) + compressor.flush()
    with h5py.File(path, "r+") as file:
        del file["episodes/000000/keys"]
        group = file["episodes/000000"]
        keys = group.create_dataset("keys", (FRAMES,), "u1", chunks=(FRAMES,), compression="gzip")
        keys.id.write_direct_chunk((0,), bomb)
    refused(path, "a chunk of keys inflates to more than its size")


def test_gzip_in_gzip_is_refused(path):
    with h5py.File(path, "r+") as file:
        group = file["episodes/000000"]
        del group["keys"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((FRAMES,))
        plan.set_deflate(9)
        plan.set_deflate(9)
        space = h5py.h5s.create_simple((FRAMES,))
        h5py.h5d.create(group.id, b"keys", h5py.h5t.NATIVE_UINT8, space, plan)
    refused(path, "keys uses filters other than")


def test_one_array_under_many_names_costs_many_times(path):
    with h5py.File(path, "r+") as file:
        for i in range(100):
            file[f"episodes/000000/rewards/r{i}"] = file["episodes/000000/rewards/default"]
    refused(path, "is one dataset under two names")


def test_a_compact_episode_of_endless_keys(tmp_path):
    """A kilobyte of keys would be played for hours, and need gigabytes."""
    path = tmp_path / "runs.h5"
    write_compact_dataset(path, [episode(0, rewards={})])
    frames = 1_000_000
    with h5py.File(path, "r+") as file:
        group = file["episodes/000000"]
        for name in ("keys", "actions"):
            del group[name]
            group.create_dataset(name, data=np.zeros(frames, "u1"), chunks=(frames,), compression="gzip")
        group.attrs["frames"] = frames
    assert path.stat().st_size < 50_000
    refused(path, "/episodes/000000 is larger than a file of this size can hold")


def test_an_attribute_of_many_texts_is_not_read(path):
    with h5py.File(path, "r+") as file:
        attributes = file["episodes/000000"].attrs
        del attributes["player"]
        attributes.create("player", ["x" * 1000] * 1000, dtype=h5py.string_dtype())
    refused(path, "attribute player is not a single value")


LIMITED = """
    import resource, sys
    from qwop_datasets.cli import main
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = main(sys.argv[1:])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{grown:.0f} MB", file=sys.stderr)
    sys.exit(code if grown < 150 else 99)
"""


def test_decompression_bombs_take_little_memory(tmp_path):
    """Measured from outside: the resident set of a process that converts them, of 256 MB and 4 GB."""
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("observations", "actions"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 27,)}
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(128):
                    member.write(bytes(1 << 20))
    path = tmp_path / "bomb.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data/demo_0")
        shape = (1 << 28, 4)
        data.create_dataset("actions", shape, "f4", chunks=(1 << 16, 4), compression="gzip")
    for name in ("bomb.npz", "bomb.hdf5"):
        refused_cheaply("convert", tmp_path / name, tmp_path / "x.h5", "--source", "human")


def refused_cheaply(*arguments) -> str:
    """What `qwop-data` says when it refuses, in a process of its own that may not grow much."""
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2, (arguments, done.stderr)
    return done.stderr


def write_plainly(source: Path, path: Path) -> None:
    """The same dataset as another's h5py writes it: without checksums, texts of variable length."""
    with h5py.File(source) as file, h5py.File(path, "w") as target:

        def copy(name, member):
            if not name:
                made = target
            elif isinstance(member, h5py.Dataset):
                made = target.create_dataset(name, data=member[()], compression="gzip")
            else:
                made = target.create_group(name)
            for key, value in member.attrs.items():
                made.attrs[key] = value.decode() if isinstance(value, bytes) else value

        copy("", file)
        file.visititems(copy)


def claim_long_text(path: Path, text: str) -> None:
    """Make the file say that this text of variable length in it has 3.5 GB."""
    data = bytearray(path.read_bytes())
    at = data.find(struct.pack("<IQ", len(text), data.find(b"GCOL")))
    assert at > 0
    data[at : at + 4] = struct.pack("<I", 3_500_000_000)
    path.write_bytes(data)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux limits a process's memory")
def test_the_length_of_a_variable_text_is_checked(tmp_path, path):
    """HDF5 allocates it, and fills it with zeros, before it looks for it."""
    foreign, plain = tmp_path / "foreign.hdf5", tmp_path / "plain.h5"
    assert main(["convert", str(path), str(foreign)]) == 0
    write_plainly(path, plain)
    for target, name in ((foreign, "data/demo_0/qwop"), (plain, "episodes/000000/id")):
        with h5py.File(target) as file:
            group, _, attribute = name.rpartition("/")
            text = file[group].attrs[attribute]
        claim_long_text(target, text)
    said = refused_cheaply("convert", foreign, tmp_path / "x.h5")
    assert "damaged: attribute qwop is missing in the file, or longer than" in said
    for arguments in (["edit", plain, "--tag", "x"], ["merge", tmp_path / "m.h5", plain]):
        refused_cheaply(*arguments)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    refused(plain, "attribute id is missing in the file")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize("size", [0, 2**64 - 16])
def test_a_heap_without_end(path, tmp_path, size):
    """An object in it that leads back to itself keeps HDF5 busy for ever, so a thread can't time it out."""
    foreign, plain = tmp_path / "foreign.hdf5", tmp_path / "plain.h5"
    assert main(["convert", str(path), str(foreign)]) == 0
    write_plainly(path, plain)
    for target in (foreign, plain):
        data = bytearray(target.read_bytes())
        at = data.find(b"GCOL") + 16  # the first object: its index, 6 bytes of others, its size
        data[at : at + 16] = struct.pack("<H6xQ", 1 if size else 0, size)
        target.write_bytes(data)
    assert "are damaged" in refused_cheaply("convert", foreign, tmp_path / "x.h5")
    refused(plain, "its texts of variable length, at byte [0-9]+, are damaged")
    with pytest.raises(OSError, match="are damaged"):
        untrusted.check_before_copying(plain)


def test_compressed_trajectories_are_not_inflated(tmp_path, capsys):
    """Arrow would allocate what each buffer claims to inflate to."""
    pa = pytest.importorskip("pyarrow")
    rows = pa.array([[[0.0] * 60] * 50_000], pa.list_(pa.list_(pa.float32())))
    endless = pa.array([[None] * 9], pa.list_(pa.null()))  # a list of 2^31 of these needs no bytes
    for name, obs, compression, message in (
        ("packed", rows, "zstd", "data-0.arrow is compressed"),
        ("packed2", rows, "lz4", "data-0.arrow is compressed"),
        ("endless", endless, None, "a trajectory has lists of null"),
        ("texts", pa.array([[["a", "b"]]]), None, "not QWOP: observations of trajectory 0: has text"),
    ):
        (tmp_path / name).mkdir()
        table = pa.table({"obs": obs, "acts": pa.array([[1]])})
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with pa.OSFile(str(tmp_path / name / "data-0.arrow"), "wb") as file:
            with pa.ipc.new_stream(file, table.schema, options=options) as stream:
                stream.write_table(table)
        arguments = [str(tmp_path / name), str(tmp_path / "x.h5"), "--source", "human"]
        assert main(["convert", *arguments, "--from", "imitation"]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (name, err)


def write_arrow(path: Path, observations: np.ndarray) -> None:
    """A trajectory as imitation saves it, without what only ours have."""
    import pyarrow as pa

    actions = [[0] * (len(observations) - 1)]
    kind = pa.list_(pa.list_(pa.float32()))
    table = pa.table({"obs": pa.array([observations.tolist()], kind), "acts": pa.array(actions)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def redo_log(path: Path, size: int, pages: dict[int, bytes], claimed: int | None = None) -> bytes:
    """What storage writes before a change, with page 0 as it is, and any other pages and size."""
    data = path.read_bytes()
    pages = {0: data[: storage.PAGE].ljust(storage.PAGE, b"\0")} | pages
    count = len(pages) if claimed is None else claimed
    log = storage._HEADER.pack(storage._MAGIC, len(data), size, count, zlib.crc32(data[:48]))
    log += b"".join(number.to_bytes(8, "little") + page for number, page in pages.items())
    return log + zlib.crc32(log).to_bytes(4, "little")


@pytest.mark.parametrize("command", ["list", "recover", "check"])
def test_an_interrupted_change_that_nobody_made(path, capsys, command):
    """Its sizes and page numbers are not believed: the dataset stays as it is, and as large."""
    data = path.read_bytes()
    redo = storage.redo_path(path)
    page = b"x" * storage.PAGE
    redo.write_bytes(redo_log(path, 1 << 50, {}))
    assert main([command, str(path)]) in (1, 2)
    captured = capsys.readouterr()
    assert "runs.h5.redo would make it 1125899906842624 bytes long, but has" in captured.out + captured.err
    assert captured.err.count("\n") <= 1 and path.read_bytes() == data
    for log in (
        redo_log(path, len(data), {1 << 40: page, (1 << 64) - 1: page}),  # beyond the end: nothing to write
        redo_log(path, len(data), {}, claimed=1 << 30),
        redo_log(path, 1 << 50, {})[:-9],
    ):
        redo.write_bytes(log)
        assert main([command, str(path)]) == 0
        assert path.read_bytes() == data and not redo.exists()


# ---- code ----------------------------------------------------------------------------------------------


class Harm:
    """Pickled or jsonpickled, it makes a file when it is read back."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_not_read(tmp_path, capsys):
    harm = tmp_path / "harm"
    array = np.empty(1, object)
    array[0] = Harm(harm)
    np.savez(tmp_path / "evil.npz", observations=array, actions=array)
    np.save(tmp_path / "evil.npy", array)
    for name in ("evil.npz", "evil.npy"):
        assert main(["convert", str(tmp_path / name), str(tmp_path / "x.h5"), "--source", "human"]) == 2
        assert "has pickled objects, which could run code" in capsys.readouterr().err
    source = str(tmp_path / "evil.npy")
    assert main(["convert", source, str(tmp_path / "x.h5"), "--from", "imitation"]) == 2
    assert "pickles, which can run code" in capsys.readouterr().err
    assert not harm.exists()


def test_infos_of_imitation_are_not_unpickled(tmp_path, capsys):
    """imitation.data.serialize.load decodes them with jsonpickle, which calls what they name."""
    serialize = pytest.importorskip("imitation.data.serialize")
    types = pytest.importorskip("imitation.data.types")
    jsonpickle = pytest.importorskip("jsonpickle")
    harm = tmp_path / "harm"
    infos = np.array([{}, {"x": Harm(harm)}])
    obs = episode().raw_observations[:3]
    serialize.save(tmp_path / "t", [types.Trajectory(obs, np.zeros(2, int), infos, terminal=False)])
    jsonpickle.decode(jsonpickle.encode(infos[1]))
    assert harm.is_dir()  # so it would work
    harm.rmdir()
    capsys.readouterr()
    assert main(["convert", str(tmp_path / "t"), str(tmp_path / "x.h5"), "--source", "policy"]) == 2
    assert not harm.exists() and capsys.readouterr().err.count("\n") == 2


# ---- one clear line ------------------------------------------------------------------------------------


def minari(folder, observations, actions=None, version="0.5.0"):
    (folder / "data").mkdir(parents=True)
    metadata = {"action_space": json.dumps({"type": "Discrete", "n": 16}), "minari_version": version}
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        group = file.create_group("episode_0")
        group["observations"] = observations
        group["actions"] = np.zeros(len(observations) - 1, int) if actions is None else actions


def robomimic(path, actions, observed=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("data/demo_0")
        group["actions"] = actions
        if observed is not None:
            group["obs/observation"] = observed


def test_what_is_no_qwop_has_its_own_words(tmp_path, capsys):
    shown = np.zeros((57, 60), np.float32)
    minari(tmp_path / "wide-v0", np.zeros((57, 98), np.float32))
    minari(tmp_path / "text-v0", np.full((57, 60), b"x"))
    minari(tmp_path / "long-v0", shown, np.zeros(9, int))
    minari(tmp_path / "deep-v0", shown, np.zeros((56, 3), int))
    minari(tmp_path / "half-v0", shown, np.full(56, 0.5))
    minari(tmp_path / "old-v0", shown)
    (tmp_path / "old-v0" / "data" / "metadata.json").unlink()  # 0.4 had its metadata in the HDF5 file
    minari(tmp_path / "json-v0", shown)
    (tmp_path / "json-v0" / "data" / "metadata.json").write_text("[" * 100_000, encoding="utf-8")
    minari(tmp_path / "list-v0", shown)
    (tmp_path / "list-v0" / "data" / "metadata.json").write_text("[]", encoding="utf-8")
    (tmp_path / "empty-v0" / "data").mkdir(parents=True)
    robomimic(tmp_path / "a.hdf5", np.zeros((9, 4)), np.zeros((9, 61)))
    robomimic(tmp_path / "b.hdf5", np.zeros(9))
    robomimic(tmp_path / "c.hdf5", np.full((9, 4), b"x"))
    robomimic(tmp_path / "d.hdf5", np.zeros((0, 4)))
    robomimic(tmp_path / "e.hdf5", np.zeros((9, 4)))
    with h5py.File(tmp_path / "e.hdf5", "r+") as file:
        file["data/demo_0"].attrs["qwop"] = "{}"
    np.savez(tmp_path / "a.npz", observations=shown[:, :59], actions=np.zeros(57))
    np.savez(tmp_path / "b.npz", observations=shown, actions=np.zeros(9))
    np.savez(tmp_path / "c.npz", observations=shown, actions=np.zeros(57), terminals=np.zeros(3))
    np.savez(tmp_path / "d.npz", observations=shown, actions=np.array(["x"] * 57))
    np.savez(tmp_path / "e.npz", episodes=np.array(["{}"]), keys=np.zeros(3))
    (tmp_path / "folder").mkdir()
    for name, options, message in [
        ("wide-v0", (), "not QWOP: observations of episode_0: has float32 of shape [57, 98], not numbers"),
        ("text-v0", (), "observations of episode_0: has text of shape [57, 60]"),
        ("long-v0", (), "episode_0 has 57 observations for 9 actions"),
        ("deep-v0", (), "actions of the set full: has int64 of shape [56, 3]"),
        ("half-v0", (), "actions of the set full: entry 0 is 0.5"),
        ("old-v0", (), "was written by a Minari older than 0.5: save it again with 0.5 or later"),
        ("json-v0", (), "metadata.json is not a JSON object"),
        ("list-v0", (), "metadata.json is not a JSON object"),
        ("empty-v0", ("--from", "minari"), "not a Minari dataset: it has no data/main_data.hdf5"),
        (
            "a.hdf5",
            (),
            "observations of demo_0: has float64 of shape [9, 61], not numbers of shape [any, 60]",
        ),
        ("b.hdf5", (), "demo_0 has actions float64 [9], not numbers [T, 4]"),
        ("c.hdf5", (), "demo_0 has actions |S1 [9, 4], not numbers [T, 4]"),
        ("d.hdf5", (), "an episode has no step"),
        ("e.hdf5", (), "damaged: states is missing"),
        ("a.npz", (), "observations of episode 0: has float32 of shape [57, 59]"),
        ("b.npz", (), "observations [57, 60] and actions [9]: expected one of each per step"),
        ("c.npz", (), "terminals: has float64 of shape [3], not numbers of shape [57]"),
        ("d.npz", (), "actions of the set full: has text of shape [57]"),
        ("e.npz", (), "array episode_ends is missing"),
        ("folder", ("--from", "minari"), "not a Minari dataset"),
        ("folder", ("--from", "robomimic"), "it is a folder, not a file"),
        ("folder", ("--from", "npz"), "it is a folder, not a file"),
        ("folder", ("--from", "csv"), "it is a folder, not a file"),
        ("folder", ("--from", "keys"), "it is a folder, not a file"),
        ("folder", ("--from", "qwop-gym"), "it is a folder, not a file"),
        ("folder", ("--from", "imitation"), "it has no data-*.arrow"),
        ("gone", ("--from", "minari"), "not a Minari dataset"),
        ("gone", ("--from", "robomimic"), "no such file"),
        ("gone", ("--from", "npz"), "no such file"),
        ("gone", ("--from", "csv"), "no such file"),
        ("gone", ("--from", "keys"), "no such file"),
    ]:
        arguments = [str(tmp_path / name), str(tmp_path / "x.h5"), "--source", "human", *options]
        assert main(["convert", *arguments]) == 2, name
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and message in err, (name, err)
        assert not re.search("damaged: ([0-9]|operands|'|\\[)", err), err


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"keys": "QQ"}, "'QQ' is not a combination of the keys"),
        ({"keys": "X"}, "'X' is not a combination of the keys"),
        ({"time": "x"}, "a cell is wrong: could not convert string to float: 'x'"),
        ({"torso.x": "1e999"}, "raw_observations holds NaN or infinity"),
        ({"frame": "7"}, "its frames are not 0 to T in order"),
        ({"end": "won"}, "its end is 'won', not one of success"),
        ({"source": "me"}, "source 'me' is not one of human"),
        ({"trig": "sin"}, "trig 'sin' is not one of rounded"),
        ({"player": "x" * 65}, "player is longer than 64 bytes"),
    ],
)
def test_a_wrong_cell_of_a_csv_is_named(path, tmp_path, capsys, cells, message):
    assert main(["convert", str(path), str(tmp_path / "x.csv")]) == 0
    lines = (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    for number in range(1, FRAMES + 2) if {"end", "source", "trig", "player"} & set(cells) else [5]:
        row = lines[number].split(",")
        for name, cell in cells.items():
            row[names.index(name)] = cell
        lines[number] = ",".join(row)
    (tmp_path / "x.csv").write_text("\n".join(lines), encoding="utf-8")
    capsys.readouterr()
    assert main(["convert", str(tmp_path / "x.csv"), str(tmp_path / "x.h5")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err, err


HOSTILE_FIELDS = [
    {"keys": [1, 2, 3]},
    {"raw_observations": []},
    {"id": 5},
    {"id": "zz"},
    {"tags": 5},
    {"provenance": [1]},
    {"provenance": {"x": [1]}},
    {"provenance": {"x/y": 1}},
    {"player": {"x": 1}},
    {"player": "x" * 100},
    {"source": "alien"},
    {"trig": "none"},
    {"wall_clock_offset": "x"},
    {"wall_clock_offset": None},
    {"unknown": 1},
    {"deep": 0},
]


@pytest.mark.parametrize("fields", HOSTILE_FIELDS)
def test_a_journal_that_no_recorder_wrote_is_kept_aside(tmp_path, capsys, fields, monkeypatch):
    path = tmp_path / "runs.h5"
    if "deep" in fields:
        monkeypatch.setattr("qwop_datasets.journal.json.dumps", lambda *_, **__: "[" * 100_000)
    made = episode()
    with Journal(journal_path(path)) as journal:
        recording = Recording(made.raw_observations[0], 0.0, source="human")
        recording.fields |= fields
        journal.begin(recording)
        for t in range(5):
            journal.write(recording.add(Frame(made.keys[t], made.raw_observations[t + 1], made.times[t + 1])))
    monkeypatch.undo()
    data = journal_path(path).read_bytes()
    episodes, damaged = read_journal(journal_path(path))
    assert episodes == [] and damaged > 0
    assert main(["recover", str(path)]) == 0
    captured = capsys.readouterr()
    assert "is kept as" in captured.out and captured.err == ""
    assert journal_path(path).with_name("runs.h5.journal.damaged").read_bytes() == data


# ---- mutations -----------------------------------------------------------------------------------------


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes, a stretch, or the end of a file changed."""
    out = bytearray(data)
    kind = rng.integers(0, 5)
    if kind == 0:
        return bytes(out[: rng.integers(0, len(out))])
    at = int(rng.integers(0, len(out)))
    if kind == 1:
        out[at : at + int(rng.integers(1, 64))] = rng.bytes(int(rng.integers(0, 64)))
    elif kind == 2:
        stop = min(len(out), at + int(rng.integers(1, 512)))
        start = int(rng.integers(0, len(out) - (stop - at) + 1))
        out[at:stop] = out[start : start + stop - at]
    else:
        for _ in range(int(rng.integers(1, 8))):
            at = int(rng.integers(0, len(out)))
            out[at] = int(rng.choice([0, 255, 128, out[at] ^ (1 << int(rng.integers(0, 8)))]))
    return bytes(out)


def originals(folder):
    """A small file of every kind: name -> the commands that read it."""
    runs = folder / "runs.h5"
    write_dataset(runs, [episode(0), episode(1)])
    write_compact_dataset(folder / "compact.h5", [episode(0, rewards={}), episode(1, rewards={})])
    write_plainly(runs, folder / "plain.h5")
    for name, to in (("x.npz", "npz"), ("x.csv", "csv"), ("x.hdf5", "robomimic"), ("x-v0", "minari")):
        with DatasetReader(runs) as reader:
            convert.export(reader, folder / name, to)
    with Journal(folder / "j.h5.journal") as journal:
        made = episode(0)
        for _ in range(2):
            recording = Recording(made.raw_observations[0], made.times[0], source="human")
            journal.begin(recording)
            for t, keys in enumerate(made.keys):
                journal.write(recording.add(Frame(keys, made.raw_observations[t + 1], made.times[t + 1])))
    (folder / "redo.h5").write_bytes(runs.read_bytes())
    log = redo_log(folder / "redo.h5", runs.stat().st_size, {})
    storage.redo_path(folder / "redo.h5").write_bytes(log)
    files = ["x-v0/data/main_data.hdf5", "x-v0/data/metadata.json", "redo.h5.redo"]
    if importlib.util.find_spec("pyarrow"):
        (folder / "arrows").mkdir()
        write_arrow(folder / "arrows" / "data-0.arrow", episode(0).raw_observations)
        files.append("arrows/data-0.arrow")
    (folder / "x.rec").write_text("seed=5\n" + "12\n" * 60 + "*\n", encoding="utf-8")
    (folder / "tape.csv").write_text(
        "t_sec,q,w,o,p\n" + "".join(f"{i / 60:.5f},0,1,0,1\n" for i in range(40)), encoding="utf-8"
    )
    files += [
        "runs.h5",
        "compact.h5",
        "plain.h5",
        "x.npz",
        "x.csv",
        "x.hdf5",
        "x.rec",
        "tape.csv",
        "j.h5.journal",
    ]
    return files


def read_all(folder: Path, name: str) -> int:
    """Read a file by the command for its kind; the exit code."""
    out = folder / "out.h5"
    out.unlink(missing_ok=True)
    if name.endswith("redo"):
        return main(["list", str(folder / name.removesuffix(".redo"))])
    if name.endswith("journal"):
        return main(["recover", str(folder / name.removesuffix(".journal"))])
    if name.endswith("h5"):
        codes = [main([command, str(folder / name)]) for command in ("list", "info", "check", "verify")]
        return max(code for code in codes if code != 1) if set(codes) != {1} else 0
    source = folder / name.partition("/")[0]
    options = ["--from", "imitation"] if name.endswith("arrow") else []
    return main(["convert", str(source), str(out), "--source", "human", *options])


def fuzz(folder: Path, seed: int, count: int, capture) -> dict[str, int]:
    """Reads `count` mutations of each kind of file; returns how many of each were refused."""
    rng = np.random.default_rng(seed)
    names = originals(folder)
    contents = {name: (folder / name).read_bytes() for name in names}
    refused = dict.fromkeys(names, 0)
    capture()
    for name in names:
        for number in range(count):
            (folder / name).write_bytes(mutated(contents[name], rng))
            code = read_all(folder, name)
            err = capture()
            assert code in (0, 1, 2), (name, number, code)
            for line in err.splitlines():
                assert line.startswith(("qwop-data: ", "Traceback")) and len(line) < 600, (name, number, err)
                assert "Traceback" not in line and "\x1b" not in line, (name, number, err)
            refused[name] += code == 2
            for left in folder.glob("j.h5*"):
                left.unlink()
        (folder / name).write_bytes(contents[name])
    return refused


def test_mutated_files_end_in_one_line(tmp_path, capsys):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = fuzz(tmp_path, 0, 30, lambda: capsys.readouterr().err)
    assert all(refused[name] > 0 for name in refused if not name.endswith(("journal", "redo"))), refused
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 150


if __name__ == "__main__":  # python tests/datasets/test_hostile.py SEED COUNT FOLDER: as many as you like
    import contextlib
    import io

    stream = io.StringIO()

    def captured() -> str:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        messages.update(line for line in text.splitlines())
        return text

    messages: set[str] = set()
    where = Path(sys.argv[3])
    where.mkdir(parents=True)
    with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(io.StringIO()):
        result = fuzz(where, int(sys.argv[1]), int(sys.argv[2]), captured)
    print(result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB")
    for line in sorted({m.replace(str(where), "")[:150] for m in messages}):
        print(line)
