"""Read the machine and the system requirements of a shared library: ELF, PE and Mach-O."""

import struct
from pathlib import Path
from typing import NamedTuple


class Library(NamedTuple):
    """Header data of a 64-bit little-endian shared library."""

    format: str  # "ELF", "PE" or "Mach-O"
    machine: str  # "x86_64" or "aarch64"
    needs: tuple[str, ...]  # names of the libraries that it loads, sorted
    glibc: tuple[
        int, ...
    ]  # ELF: the newest version of glibc's symbols that it asks for, such as (2, 17); else ()
    macos: tuple[int, ...]  # Mach-O: the oldest macOS that loads it, such as (11, 0); else ()


class FormatError(ValueError):
    """The file has none of the three formats, or is for another machine."""


def read_library(path: Path) -> Library:
    """Read a library's headers. Raises FormatError."""
    data = path.read_bytes()
    for magic, read in ((b"\x7fELF", _read_elf), (b"MZ", _read_pe), (b"\xcf\xfa\xed\xfe", _read_mach_o)):
        if data.startswith(magic):
            try:
                return read(data)
            except (struct.error, KeyError, ValueError) as error:
                raise FormatError(f"{path}: damaged or for an unknown machine ({error!r})") from None
    raise FormatError(f"{path}: neither ELF nor PE nor 64-bit Mach-O")


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def _read_elf(data: bytes) -> Library:
    """Read the dynamic section (type 6) and the needed versions (type 0x6ffffffe): System V ABI and LSB."""
    machine = {62: "x86_64", 183: "aarch64"}[struct.unpack_from("<H", data, 18)[0]]
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    # Each: name, type, flags, address, offset, size, link, info, alignment, size of an entry.
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    needs: list[str] = []
    glibc: list[tuple[int, ...]] = [(0,)]
    for _, kind, _, _, offset, length, link, entries, _, _ in sections:
        strings = sections[link][4]
        if kind == 6:
            for at in range(offset, offset + length, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == 1:
                    needs.append(_text(data, strings + value))
        elif kind == 0x6FFFFFFE:
            at = offset
            for _ in range(entries):
                _, names, _, first, following = struct.unpack_from("<HHIII", data, at)
                name_at = at + first
                for _ in range(names):
                    _, _, _, name, next_name = struct.unpack_from("<IHHII", data, name_at)
                    prefix, _, version = _text(data, strings + name).partition("_")
                    if prefix == "GLIBC":
                        glibc.append(tuple(map(int, version.split("."))))
                    name_at += next_name
                at += following
    return Library("ELF", machine, tuple(sorted(needs)), max(glibc), ())


def _read_pe(data: bytes) -> Library:
    """Read the import directory of Microsoft's PE format."""
    (header,) = struct.unpack_from("<I", data, 60)
    if data[header : header + 4] != b"PE\0\0":
        raise ValueError("no PE signature")
    machine = {0x8664: "x86_64", 0xAA64: "aarch64"}[struct.unpack_from("<H", data, header + 4)[0]]
    (count,) = struct.unpack_from("<H", data, header + 6)
    (optional_size,) = struct.unpack_from("<H", data, header + 20)
    optional = header + 24
    # Each: size in memory, address in memory, size in the file, offset in the file.
    sections = [
        struct.unpack_from("<IIII", data, optional + optional_size + 40 * i + 8) for i in range(count)
    ]

    def offset_of(address: int) -> int:
        return next(o + address - a for size, a, _, o in sections if a <= address < a + size)

    (imports,) = struct.unpack_from("<I", data, optional + 120)
    needs: list[str] = []
    at = offset_of(imports)
    while True:
        (name,) = struct.unpack_from("<I", data, at + 12)
        if not name:
            return Library("PE", machine, tuple(sorted(needs)), (), ())
        needs.append(_text(data, offset_of(name)))
        at += 20


def _read_mach_o(data: bytes) -> Library:
    """Read load commands: libraries (0xc, 0x80000018, 0x8000001f), oldest macOS (0x32, before 10.14 0x24)."""
    cpu, _, _, commands = struct.unpack_from("<IIII", data, 4)
    machine = {0x01000007: "x86_64", 0x0100000C: "aarch64"}[cpu]
    needs: list[str] = []
    macos, at = (), 32
    for _ in range(commands):
        command, size, first, second = struct.unpack_from("<IIII", data, at)
        if command in (0xC, 0x80000018, 0x8000001F):
            needs.append(_text(data, at + first))
        elif command in (0x32, 0x24):
            version = second if command == 0x32 else first
            macos = (version >> 16, version >> 8 & 0xFF)
        at += size
    return Library("Mach-O", machine, tuple(sorted(needs)), (), macos)
