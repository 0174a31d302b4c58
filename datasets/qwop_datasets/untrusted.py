"""Open members of HDF5 files that anybody may have made.

HDF5 itself follows links and storage into other files, and takes a file's word for how large an array is, so
that a kilobyte can ask for terabytes. What is opened here lies in the file itself, and costs memory in
proportion to the file's size.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import h5py
from h5py import h5d, h5l, h5o, h5z  # pyright: ignore[reportAttributeAccessIssue]

H5 = Any

_FLOOR = 64 << 20  # bytes that any file may ask for: 2.5 hours of play
# What a file may ask for beyond that, for each byte of it. A runner that stands still compresses best, to a
# byte a frame or more for its clock alone, and a frame is 250 bytes in memory.
_RATIO = 256
_DEFLATE_RATIO = 1032  # zlib makes no byte into more than these
_PIPELINES = [  # filters, in the order in which a writer applies them: all or some of one row
    (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32),
    (h5z.FILTER_SHUFFLE, h5z.FILTER_LZF, h5z.FILTER_FLETCHER32),
]


def memory_limit(size: int) -> int:
    """Bytes of memory that reading one episode, or one table, of a file of `size` bytes may cost."""
    return max(_FLOOR, _RATIO * size)


def member(parent: H5, name: str) -> H5:
    """The group or dataset `name` of a group, which lies in this file.

    Raises KeyError where there is none, ValueError for a link, data in another file, or an array that is
    larger than a file of this size can hold.
    """
    if parent.id.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        raise ValueError(f"{name} is a link; links are not followed")
    found = parent[name]
    if isinstance(found, h5py.Dataset):
        _check_dataset(found, name)
    elif not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is neither a group nor a dataset")
    return found


def group(parent: H5, name: str) -> H5:
    """`member`, which is a group."""
    found = member(parent, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is not a group")
    return found


def dataset(parent: H5, name: str) -> H5:
    """`member`, which is a dataset."""
    found = member(parent, name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    return found


def attribute(attributes: H5, name: str) -> Any:
    """A scalar attribute, as h5py gives it. Raises KeyError, ValueError for any other shape."""
    if attributes.get_id(name).shape != ():
        raise ValueError(f"attribute {name} is not a single value")
    return attributes[name]


def _check_dataset(found: H5, name: str) -> None:
    plan = found.id.get_create_plist()
    if plan.get_layout() == h5d.VIRTUAL or plan.get_external_count():
        raise ValueError(f"{name} keeps its data in another file; only what is in the file itself is read")
    if h5o.get_info(found.id).rc > 1:
        raise ValueError(f"{name} is one dataset under two names")
    if found.shape is None or found.dtype.hasobject:
        raise ValueError(f"{name} is not an array of plain numbers or texts")
    file_size = found.file.id.get_filesize()
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
    """HDF5 inflates a chunk to its end, however much longer than the chunk that is."""
    size = math.prod(found.chunks) * found.dtype.itemsize
    for i in range(found.id.get_num_chunks()):
        info = found.id.get_chunk_info(i)
        if info.size * _DEFLATE_RATIO > limit:
            _, stored = found.id.read_direct_chunk(info.chunk_offset)
            try:
                inflated = len(zlib.decompressobj().decompress(stored, size + 1))
            except zlib.error:
                continue  # HDF5 says so when it reads
            if inflated > size:
                raise ValueError(f"a chunk of {name} inflates to more than its size")
