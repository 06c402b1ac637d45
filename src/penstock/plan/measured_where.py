"""Warnings if a scenario's profiles were not measured on the devices that it uses. The plan may be for elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from penstock.device.names import device_class_of
from penstock.plan.documents.scenario import Scenario
from penstock.profile.measured_machine import Machine, differences
from penstock.profile.table import Profile


def profile_warnings(scenario: Scenario, profiles: Mapping[str, Profile]) -> list[str]:
    """Warnings about a class that requires another device than it was measured on, and about profiles of one
    class that were measured on different machines."""
    return [
        text
        for device_class, spec in scenario.cluster.device_classes.items()
        if spec.available
        for text in (
            *_not_required(scenario, profiles, device_class),
            *_unlike(_machines(scenario, profiles, device_class), device_class),
        )
    ]


def machine_warnings(
    scenario: Scenario, profiles: Mapping[str, Profile], here: Mapping[str, Machine]
) -> list[str]:
    """How the machines ``here``, which serve each device class, differ from those that measured the profiles."""
    return [
        f"profile of {model}, device class {device_class!r}: was not measured as it is served: {'; '.join(found)}. Its "
        f"times may not hold; profile it on this machine, and serve with the same --executor and --precision."
        for device_class, machine in here.items()
        for model, measured_on in _machines(scenario, profiles, device_class).items()
        if (found := differences(measured_on, machine))
    ]


def _machines(scenario: Scenario, profiles: Mapping[str, Profile], device_class: str) -> dict[str, Machine]:
    """By model, the machine that measured its latencies on ``device_class``, if it is known."""
    found = {}
    for model in scenario.models:
        provenance = profiles[model.name].provenance_of(device_class)
        if provenance.kind == "measured" and provenance.machine is not None:
            found[model.name] = provenance.machine
    return found


def _not_required(scenario: Scenario, profiles: Mapping[str, Profile], device_class: str) -> Iterator[str]:
    names = scenario.cluster.device_classes[device_class].requires or {}
    wanted = {device_class_of(name).lower() for name in names.values()}
    for model, machine in _machines(scenario, profiles, device_class).items():
        if wanted and machine.device_class.lower() not in wanted:
            yield (
                f"profile of {model}: device class {device_class!r} requires {' or '.join(names.values())}, but was "
                f"measured on {machine.device_name} ({machine.device_class}). Profile it on the device required."
            )


def _unlike(machines: Mapping[str, Machine], device_class: str) -> Iterator[str]:
    """Compare each model with the first."""
    listed: Sequence[tuple[str, Machine]] = list(machines.items())
    for model, machine in listed[1:]:
        first, other = listed[0]
        if found := differences(other, machine):
            yield (
                f"device class {device_class!r}: the profiles of {first} and {model} were not measured alike: "
                f"{'; '.join(found)}. Profile both on one machine, in the same way."
            )
