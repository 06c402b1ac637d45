"""System shared memory: clients of this host keep tensors in files of ``/dev/shm``, and requests name parts of them.

A registration is a file in the run folder, so every gateway of a server knows it, also one that is started again.
Tensors are read and written, never mapped: a client that makes its file shorter could otherwise end the process.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Never, final

import msgspec

from penstock.serve.protocol.errors import ProtocolError, malformed

SHM = Path("/dev/shm")
MOST_REGIONS = 1_024
LONGEST_NAME = 100
"""Bytes of a region's name: in hexadecimal it is the name of a file."""
_KEY = re.compile(r"/?([A-Za-z0-9_][A-Za-z0-9_.-]{0,254})")
_MOST_BYTES = 2**53


class Place(NamedTuple):
    """A part of a region: ``size`` bytes from ``offset``, which counts within the region."""

    region: str
    offset: int
    size: int


class Registration(msgspec.Struct, frozen=True):
    """``byte_size`` bytes from ``offset`` of the file ``key``."""

    name: str
    key: str
    offset: int
    byte_size: int


@final
class Regions:
    """The registrations in ``folder``. Every method raises :class:`ProtocolError` for what cannot be."""

    def __init__(self, folder: Path, limit_bytes: int, shm: Path = SHM) -> None:
        self._folder = folder
        self._shm = shm
        self.limit_bytes = limit_bytes
        """The most that the inputs of one request may take from regions."""
        folder.mkdir(exist_ok=True)

    def register(self, name: str, key: object, offset: object, byte_size: object) -> None:
        """Know ``byte_size`` bytes from ``offset`` of the file ``key`` of ``/dev/shm`` as region ``name``."""
        one = Registration(
            name, _checked_key(key), _whole(offset, "offset"), _whole(byte_size, "byte_size", 1)
        )
        path = self._path(name)
        if sum(1 for _ in self._folder.iterdir()) >= MOST_REGIONS:
            raise malformed(
                f"{MOST_REGIONS} regions are registered; at most so many may be: unregister some."
            )
        with self._opened(one, os.O_RDWR) as file:
            if (has := os.fstat(file).st_size) < one.offset + one.byte_size:
                raise malformed(
                    f"region {name!r} ends at byte {one.offset + one.byte_size} of {one.key!r}, which has {has} bytes."
                )
        try:
            with path.open("xb") as new:
                new.write(msgspec.json.encode(one))
        except FileExistsError:
            raise malformed(f"region {name!r} is registered already: unregister it first.") from None

    def unregister(self, name: str = "") -> None:
        """Forget region ``name``, or all; one that is not known is forgotten already."""
        for path in [self._path(name)] if name else list(self._folder.iterdir()):
            path.unlink(missing_ok=True)

    def status(self, name: str = "") -> list[Registration]:
        """Region ``name``, or all by name."""
        if name:
            return [self._known(name)]
        found = []
        for path in self._folder.iterdir():
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Registration))
            except (FileNotFoundError, msgspec.DecodeError):
                continue  # just being forgotten, or written
        return sorted(found, key=lambda one: one.name)

    def check(self, place: Place) -> None:
        """Whether ``place`` is within a region that is registered."""
        self._at(place)

    def read(self, place: Place) -> memoryview:
        """A copy of the bytes at ``place``."""
        one, start = self._at(place)
        with self._opened(one, os.O_RDONLY) as file:
            data = bytearray(place.size)
            view = memoryview(data)
            done = 0
            while done < place.size:
                count = os.preadv(file, [view[done:]], start + done)
                if not count:
                    raise malformed(
                        f"the file of region {place.region!r} is shorter than when it was registered."
                    )
                done += count
        return view

    def write(self, place: Place, data: memoryview | bytes) -> None:
        """Put ``data``, of at most the size of ``place``, there."""
        one, start = self._at(place)
        view = memoryview(data).cast("B")
        if len(view) > place.size:
            raise malformed(f"{len(view)} bytes do not fit {place.size} bytes of region {place.region!r}.")
        with self._opened(one, os.O_RDWR) as file:
            if os.fstat(file).st_size < start + len(view):
                raise malformed(
                    f"the file of region {place.region!r} is shorter than when it was registered."
                )
            done = 0
            while done < len(view):
                done += os.pwrite(file, view[done:], start + done)

    def _at(self, place: Place) -> tuple[Registration, int]:
        """The registration, and where ``place`` begins in its file."""
        one = self._known(place.region)
        if place.offset + place.size > one.byte_size:
            raise malformed(
                f"bytes {place.offset} to {place.offset + place.size} are not within region {place.region!r}, "
                f"which has {one.byte_size}."
            )
        return one, one.offset + place.offset

    def _known(self, name: str) -> Registration:
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=Registration)
        except (FileNotFoundError, msgspec.DecodeError):
            raise malformed(f"no region {name!r} is registered here.") from None

    def _path(self, name: str) -> Path:
        try:
            coded = name.encode()
        except UnicodeEncodeError:
            raise malformed(f"the name of a region (={name!r:.80}) must be Unicode text.") from None
        if not 0 < len(coded) <= LONGEST_NAME:
            raise malformed(f"the name of a region must have 1 to {LONGEST_NAME} bytes, not {len(coded)}.")
        return self._folder / coded.hex()

    @contextmanager
    def _opened(self, one: Registration, flags: int) -> Iterator[int]:
        """The file of a region: a plain file, no link, directly in ``/dev/shm``."""
        try:
            file = os.open(self._shm / one.key, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise malformed(
                f"region {one.name!r}: {one.key!r} cannot be opened ({error.strerror})."
            ) from None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise malformed(f"region {one.name!r}: {one.key!r} is no plain file.")
            yield file
        except OSError as error:
            raise ProtocolError(500, f"region {one.name!r}: {error.strerror}.") from None
        finally:
            os.close(file)


def _place_of(tensor: str, parameters: Mapping[str, Any]) -> Place | None:
    """Where the parameters of ``tensor`` say that its bytes are, or are wanted; None if nowhere."""
    region = parameters.get("shared_memory_region")
    if region is None:
        return None
    if not isinstance(region, str):
        raise malformed(
            f"tensor {tensor!r}: shared_memory_region (={region!r:.40}) must be the name of a region."
        )
    size = _whole(parameters.get("shared_memory_byte_size"), "shared_memory_byte_size")
    return Place(region, _whole(parameters.get("shared_memory_offset", 0), "shared_memory_offset"), size)


def cuda_regions(name: str = "") -> list[Never]:
    """Regions of CUDA shared memory: there are none. :class:`ProtocolError` for one by its name.

    Clients that use system shared memory forget all regions of both kinds when they start, so those calls must work.
    """
    if name:
        raise malformed(f"no CUDA region {name!r:.100} is registered here.")
    return []


def no_cuda_regions() -> ProtocolError:
    """Why a region of CUDA shared memory is not registered."""
    return malformed(
        "CUDA shared memory is not supported: send tensors as raw data, or use system shared memory "
        "(penstock serve --system-shared-memory)."
    )


def wanted_place(tensor: str, parameters: Mapping[str, Any], regions: Regions | None) -> Place | None:
    """The part of a region that ``parameters`` name; :class:`ProtocolError` if there are no ``regions``."""
    if regions is not None:
        place = _place_of(tensor, parameters)
        if place is not None:
            regions.check(place)  # before the model runs, if it is the place of an output
        return place
    if parameters.get("shared_memory_region"):
        raise malformed(
            f"tensor {tensor!r}: parameter 'shared_memory_region' is not supported: this server was started without "
            "--system-shared-memory."
        )
    return None


def refuse_large(placed_bytes: int, regions: Regions) -> None:
    """:class:`ProtocolError` 413 if the inputs of a request take too many bytes from regions."""
    if placed_bytes > regions.limit_bytes:
        raise ProtocolError(
            413,
            f"{placed_bytes} bytes of shared memory in one request; at most {regions.limit_bytes} may be.",
        )


def _checked_key(key: object) -> str:
    found = _KEY.fullmatch(key) if isinstance(key, str) else None
    if found is None:
        raise malformed(
            f"key (={key!r:.80}) must be the name of a file of {SHM}: letters, digits and ``_ . -``, perhaps after "
            "one slash."
        )
    return found[1]


def _whole(value: object, what: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value < _MOST_BYTES:
        raise malformed(f"{what} (={value!r:.40}) must be a whole number of bytes, {least} or more.")
    return value
