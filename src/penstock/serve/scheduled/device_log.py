"""The journal of a device on disk: JSON lines of the policy's calls and of what it decided.

The first line holds the version and the :class:`DeviceSpec`; then one call a line, as in
:mod:`penstock.schedule.device.device_journal`, and after each ``decide`` that decided something a ``decided`` line.
:func:`check_device_log` replays it on a fresh policy and compares every decision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import msgspec

from penstock.errors import BadInputError, PenstockError
from penstock.schedule.device import DeviceDecision, JournalingDevicePolicy, Release, replay_device
from penstock.serve.scheduled.device_spec import DeviceSpec

FLUSH_LINES = 256
"""Lines that may be lost if the process is killed."""

_NOTHING = DeviceDecision((), ())


class _Header(msgspec.Struct, frozen=True):
    version: int
    device: DeviceSpec


@final
class LoggedDevicePolicy:
    """The policy of ``spec``; every call is written to ``path``, which must not exist.

    It has the calls of a policy, so a driver takes it for one. To be called under the driver's lock.
    """

    def __init__(self, spec: DeviceSpec, path: Path) -> None:
        self._noting = noting = JournalingDevicePolicy(spec.policy())
        try:
            self._file = path.open("xb")
        except OSError as error:
            raise BadInputError(
                f"{path}: cannot write the journal ({error.strerror}). Choose another file."
            ) from None
        self._write(_Header(1, spec))
        self._file.flush()
        self.arrive = noting.arrive
        self.finished = noting.finished
        self.failed = noting.failed
        self.cancel = noting.cancel
        self.unload = noting.unload
        self.load = noting.load

    def decide(self, now_us: int) -> DeviceDecision:
        """Pass on, and note what was decided."""
        decision = self._noting.decide(now_us)
        if decision != _NOTHING:
            self._noting.events.append(("decided", *decision))
        if len(self._noting.events) >= FLUSH_LINES:
            self.flush()
        return decision

    def flush(self) -> None:
        """Write what was noted."""
        for event in self._noting.events:
            self._write(event)
        self._noting.events.clear()
        self._file.flush()

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        self._file.close()

    def _write(self, line: object) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")


def check_device_log(path: Path) -> int:
    """Replay the journal in ``path``; the number of decisions that released or dropped something.

    Raises :class:`BadInputError` for a file that is not a whole journal, :class:`PenstockError` if a fresh policy
    decides otherwise than the journal says.
    """
    try:
        first, *lines = path.read_bytes().splitlines()
        spec = msgspec.json.decode(first, type=_Header).device
        rows: list[list[Any]] = [msgspec.json.decode(line) for line in lines]
        noted = [_decision(row) for row in rows if row[0] == "decided"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise BadInputError(
            f"{path}: cannot be read as a device's journal ({error}). Was it written whole?"
        ) from None
    events = [tuple(row) for row in rows if row[0] != "decided"]
    replayed = [one for one in replay_device(spec.policy(), events) if one != _NOTHING]
    for number, (was, would) in enumerate(zip(noted, replayed, strict=False)):
        if was != would:
            raise PenstockError(f"{path}: decision {number} was {was}, but the policy now decides {would}.")
    if len(noted) != len(replayed):
        raise PenstockError(f"{path}: holds {len(noted)} decisions, but the policy makes {len(replayed)}.")
    return len(noted)


def _decision(row: list[Any]) -> DeviceDecision:
    _, releases, drops = row
    return DeviceDecision(tuple(Release(*one) for one in releases), tuple(drops))
