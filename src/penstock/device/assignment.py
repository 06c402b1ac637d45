"""Which device of this machine stands for which device of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.device.facts import DeviceFacts
from penstock.device.requirement import Requirement, in_words
from penstock.errors import DeviceMismatchError


def assign(
    needed: Mapping[str, Sequence[int]],
    requirements: Mapping[str, Requirement],
    devices: Sequence[DeviceFacts],
    counts: Mapping[str, int],
) -> dict[tuple[str, int], DeviceFacts]:
    """A device for each (device class, device number in the plan); no device is given twice.

    ``needed`` has the numbers of the devices that the plan uses, ``counts`` how many the fleet has, by class. If all
    of a class are here, number k is the k-th that meets the requirement, so that a device keeps its number over
    restarts and replans; if fewer are here, those in use are taken in order. Classes with the fewest candidates
    choose first. Raises :class:`DeviceMismatchError` if the devices do not suffice; it names the class, the
    requirement and what is here.
    """
    candidates = {name: [d for d in devices if requirements[name].is_met_by(d)] for name in needed}
    taken: set[str] = set()
    found: dict[tuple[str, int], DeviceFacts] = {}
    for name in sorted(needed, key=lambda name: len(candidates[name])):
        numbers = sorted(set(needed[name]))
        free = [device for device in candidates[name] if device.uuid not in taken]
        if len(free) < len(numbers):
            raise DeviceMismatchError(_shortage(name, len(numbers), len(free), requirements[name], devices))
        places = numbers if len(free) >= counts[name] else range(len(numbers))
        for number, place in zip(numbers, places, strict=True):
            found[name, number] = free[place]
            taken.add(free[place].uuid)
    return found


def _shortage(
    name: str, wanted: int, free: int, requirement: Requirement, devices: Sequence[DeviceFacts]
) -> str:
    here = "; ".join(in_words(device) for device in devices) or "no device"
    return (
        f"device class {name!r} requires {requirement.in_words}, and the plan uses {wanted} of them, but this "
        f"machine has {free} free ({here}). Serve the plan where they are, plan with fewer, correct 'requires' in "
        f"the scenario, or serve the class with --executor {name}=emulated."
    )
