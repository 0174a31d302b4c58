"""HDF5's lock."""

from contextlib import AbstractContextManager

phil: AbstractContextManager[bool]
