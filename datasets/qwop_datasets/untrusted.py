"""Open members of untrusted HDF5 files safely.

HDF5 follows links into other files and trusts the sizes that a file declares: a file of a kilobyte can
request terabytes of memory. The functions here open only members of the file itself, and bound the memory by
its size.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5i, h5l, h5o, h5z
from h5py._objects import phil

resource: Any
try:
    import resource
except ImportError:  # Windows: texts of variable length are not limited there
    resource = None

H5 = Any

_FLOOR = 64 << 20  # bytes of memory that any file may need: 2.5 hours of play
# Additional memory per byte of the file. A runner that stands still compresses best, to at least one byte per
# frame for its clock, and a frame needs 250 bytes in memory.
_RATIO = 256
_DEFLATE_RATIO = 1032  # maximum bytes that zlib inflates one byte to
_HEAP = b"GCOL\1"
_PIPELINES = [  # filters, in the order in which a writer applies them: all or some of one row
    (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32),
    (h5z.FILTER_SHUFFLE, h5z.FILTER_LZF, h5z.FILTER_FLETCHER32),
]


def memory_limit(size: int) -> int:
    """Return how many bytes of memory an episode or a table of a file of `size` bytes may need."""
    return max(_FLOOR, _RATIO * size)


def member(parent: H5, name: str) -> H5:
    """Open the group or dataset `name` of a group.

    Raises:
        KeyError: There is no such member.
        ValueError: It is a link, has data in another file, or is larger than a file of this size can hold.
    """
    try:
        link = parent.id.links.get_info(name.encode()).type
    except RuntimeError as error:
        if "doesn't exist" in str(error):
            raise KeyError(name) from None
        raise
    if link != h5l.TYPE_HARD:
        raise ValueError(f"{name} is a link; links are not followed")
    found = parent[name]
    if isinstance(found, h5py.Dataset):
        _check_dataset(found, name)
    elif not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is neither a group nor a dataset")
    return found


def group(parent: H5, name: str) -> H5:
    """Open a `member` that is a group."""
    found = member(parent, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is not a group")
    return found


def dataset(parent: H5, name: str) -> H5:
    """Open a `member` that is a dataset."""
    found = member(parent, name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    return found


def attribute(attributes: H5, name: str) -> Any:
    """Read a scalar attribute, as h5py gives it.

    Raises:
        KeyError: There is no such attribute.
        ValueError: It is not a scalar.
        OSError: It is damaged.
    """
    stored = attributes.get_id(name)
    if stored.shape != ():
        raise ValueError(f"attribute {name} is not a single value")
    dtype = stored.dtype
    if not dtype.hasobject:
        value = np.empty((), dtype)
        stored.read(value)
        return value[()]
    file = h5i.get_file_id(stored)
    number = h5o.get_info(stored).fileno
    if number not in _heaps_checked:
        _check_heaps(file.get_file_image())
        _heaps_checked.add(number)
    try:
        with allocating_at_most(memory_limit(file.get_filesize())):
            return attributes[name]
    except OSError:
        raise OSError(
            f"attribute {name} is missing in the file, or longer than a file of this size can hold"
        ) from None


_heaps_checked: set[int] = set()  # HDF5's own numbers of open files


def check_before_copying(path: Path) -> None:
    """Check that HDF5 can copy the objects of a file: some damaged ones would cause an endless loop.

    Raises:
        OSError: The file is damaged.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check_heaps(data)


def _check_heaps(data: bytes | mmap.mmap) -> None:
    """Check all collections of texts of variable length: a damaged one causes an endless loop in HDF5.

    Raises OSError, as HDF5 does for damage.
    """
    start = -1
    while (start := data.find(_HEAP, start + 1)) >= 0:
        at, stop = start + 16, start + int.from_bytes(data[start + 8 : start + 16], "little")
        while at + 16 <= stop <= len(data):
            index, size = int.from_bytes(data[at : at + 2], "little"), data[at + 8 : at + 16]
            length = int.from_bytes(size, "little")
            step = 16 + -(-length // 8) * 8 if index else length  # index 0 is free space with its header
            if step < 16:
                break
            at += step
        if not stop - 16 < at <= stop <= len(data):
            raise OSError(f"its texts of variable length, at byte {start}, are damaged")


@contextmanager
def allocating_at_most(size: int) -> Generator[None]:
    """Limit the memory that the process may allocate in the block to `size` bytes more (Linux only).

    HDF5 allocates a text of variable length before it checks that the file has so many bytes, and its API
    does not give the length. The limit applies to the whole process, so keep the block short. h5py's lock
    prevents other threads that use HDF5, and forks, during the block.
    """
    with phil:
        limits = _limit_data(size)
        try:
            yield
        finally:
            if limits:
                resource.setrlimit(resource.RLIMIT_DATA, limits)


def _limit_data(size: int) -> tuple[int, int] | None:
    """Limit the growth of the process's data to `size` bytes; returns the earlier limits, or None."""
    if resource is None:
        return None
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            now = int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
    soft, hard = limits = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY and soft <= now + size:
        return None
    resource.setrlimit(resource.RLIMIT_DATA, (now + size, hard))
    return limits


def _check_dataset(found: H5, name: str) -> None:
    plan = found.id.get_create_plist()
    if plan.get_layout() == h5d.VIRTUAL or plan.get_external_count():
        raise ValueError(f"{name} has its data in another file, which is not read")
    if h5o.get_info(found.id).rc > 1:
        raise ValueError(f"{name} is one dataset under two names")
    if found.shape is None or found.dtype.hasobject:
        raise ValueError(f"{name} is not an array of plain numbers or texts")
    file_size = h5i.get_file_id(found.id).get_filesize()  # found.file takes ten times as long
    if found.id.get_storage_size() > file_size:
        raise ValueError(f"{name} claims more bytes than the file has")
    limit = memory_limit(file_size)
    for shape in (found.shape, found.chunks or ()):
        size = math.prod(shape) * found.dtype.itemsize
        if size > limit:
            raise ValueError(f"{name} declares {size} bytes, more than a file of this size can hold")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if not any(filters == [f for f in row if f in filters] for row in _PIPELINES):
        raise ValueError(f"{name} uses filters other than shuffle, gzip or lzf, and fletcher32")
    if h5z.FILTER_DEFLATE in filters and found.id.get_storage_size() * _DEFLATE_RATIO > limit:
        _check_inflated_sizes(found, name, limit)


def _check_inflated_sizes(found: H5, name: str, limit: int) -> None:
    """Check the inflated sizes of chunks. HDF5 does not: it inflates a chunk to its end."""
    size = math.prod(found.chunks) * found.dtype.itemsize
    for i in range(found.id.get_num_chunks()):
        info = found.id.get_chunk_info(i)
        if info.size * _DEFLATE_RATIO > limit:
            _, stored = found.id.read_direct_chunk(info.chunk_offset)
            try:
                inflated = len(zlib.decompressobj().decompress(stored, size + 1))
            except zlib.error:
                continue  # HDF5 reports it when it reads
            if inflated > size:
                raise ValueError(f"a chunk of {name} inflates to more than its size")
