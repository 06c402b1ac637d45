"""``penstock doctor``: what this machine has, and which part of it each verb would use."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from penstock.cli.common.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from penstock.device.facts import DeviceFacts
    from penstock.device.host import HostFacts
    from penstock.device.software import Cache

Installed = dict[str, "str | None"]


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Show cores, memory, GPUs, drivers and runtimes of this machine, and what each verb would use.

    It changes nothing and needs no GPU. For each GPU it also shows the line with which a device class of a scenario
    requires that GPU.

    \b
    Example:
      penstock doctor
      penstock doctor --json
    """
    from penstock.device.discover import discover
    from penstock.device.host import host_facts
    from penstock.device.providers import available_providers
    from penstock.device.software import caches, installed, ray_address

    host, devices, packages = host_facts(), discover(), installed()
    providers, address, kept = available_providers(), ray_address(), caches()
    uses = verbs_use(devices, packages, providers, address)
    advice = advise(devices, packages, providers)
    if as_json:
        print_json(
            {
                "host": asdict(host),
                "devices": [asdict(device) for device in devices],
                "packages": packages,
                "providers": list(providers),
                "ray_address": address,
                "caches": [asdict(cache) for cache in kept],
                "verbs": uses,
                "advice": advice,
            }
        )
        return
    _print_host(host, packages, providers, address, kept)
    _print_devices(devices)
    print_table("What each verb would use", ["verb", "uses"], list(uses.items()))
    for line in advice:
        note(f"- {line}")


def verbs_use(
    devices: list[DeviceFacts], packages: Installed, providers: tuple[str, ...], ray: str | None
) -> dict[str, str]:
    """For the verbs that depend on the machine, one sentence each: on what they would run."""
    onnxruntime = f"onnxruntime ({', '.join(providers)})" if providers else ""
    torch = f"torch {packages['torch']}" if packages["torch"] else ""
    runtimes = " or ".join(part for part in (onnxruntime, torch) if part)
    gpus = ", ".join(sorted({device.device_class for device in devices if not device.note}))
    where = f"the CPU or {gpus}" if gpus else "the CPU"
    needs_serve = "nothing: install penstock-serving[serve]"
    return {
        "profile": f"{runtimes}, on {where}" if runtimes else needs_serve,
        "partition, plan, replan": "one core, HiGHS",
        "simulate, sweep, compare": f"one core, kernels compiled by numba {packages['numba']}",
        "serve": f"{runtimes}; a class that requires a device is pinned to it ({gpus})"
        if runtimes
        else needs_serve,
        "serve --engine ray": _ray_use(packages, ray),
    }


def _ray_use(packages: Installed, address: str | None) -> str:
    if packages["ray"] is None:
        return "nothing: install penstock-serving[ray]"
    return (
        f"Ray {packages['ray']}, {f'the cluster at {address}' if address else 'no cluster is running here'}"
    )


def advise(devices: list[DeviceFacts], packages: Installed, providers: tuple[str, ...]) -> list[str]:
    """What prevents the use of this machine's devices, each with a remedy."""
    found = [f"{device.name}: {device.note}" for device in devices if device.note]
    for vendor in sorted({device.vendor for device in devices}):
        from penstock.device.providers import PROVIDERS

        wanted = PROVIDERS[vendor]
        served_by_torch = (
            vendor == "nvidia" and packages["torch"] is not None and "+cpu" not in packages["torch"]
        )
        if not set(wanted) & set(providers) and not served_by_torch:
            found.append(
                f"no installed runtime serves {vendor} devices: install a build of onnxruntime with "
                f"{' or '.join(wanted)}{', or torch with CUDA' if vendor == 'nvidia' else ''}."
            )
    for device in devices:
        if device.is_throttled:
            found.append(
                f"{device.name} ({device.uuid}) is slowed down by {', '.join(device.throttle_reasons)}: "
                f"a profile measured now would not be typical."
            )
        if device.processes:
            names = ", ".join(f"{process.name or 'process'} {process.pid}" for process in device.processes)
            found.append(f"{device.name} ({device.uuid}) is used by {names}: stop them before you profile.")
    return found


def _print_host(
    host: HostFacts, packages: Installed, providers: tuple[str, ...], ray: str | None, kept: list[Cache]
) -> None:
    limit = "" if host.memory_limit_bytes is None else f", {_gb(host.memory_limit_bytes)} allowed here"
    versions = ", ".join(f"{name} {number}" for name, number in packages.items() if number is not None)
    rows = [
        ["processor", host.processor or "not known"],
        ["cores", f"{host.usable_cores:g} of {host.cores} usable"],
        ["memory", f"{_gb(host.memory_bytes)}{limit}, {_gb(host.memory_free_bytes)} free"],
        ["packages", versions],
        ["onnxruntime's providers", ", ".join(providers) or "none: onnxruntime is not installed"],
        ["Ray cluster", ray or "none"],
        *([cache.what, f"{cache.files} files, {_gb(cache.size_bytes)}, in {cache.path}"] for cache in kept),
    ]
    print_table("This machine", ["what", "found"], rows)


def _print_devices(devices: list[DeviceFacts]) -> None:
    if not devices:
        note("No GPU of NVIDIA, AMD or Intel is found.")
        return
    print_table(
        "Devices",
        ["device", "memory", "driver", "SM MHz", "power W", "MPS", "provider", "UUID", "a class requires"],
        [row for device in devices for row in _device_rows(device)],
    )


def _device_rows(device: DeviceFacts) -> list[list[str]]:
    rows = [
        [
            f"{device.index}: {device.name}",
            _gb(device.memory_bytes),
            f"{device.driver or '-'}{f', CUDA {device.cuda}' if device.cuda else ''}",
            f"{_or_dash(device.sm_clock_mhz)} of {_or_dash(device.max_sm_clock_mhz)}",
            f"{_or_dash(device.power_w)} of {_or_dash(device.power_limit_w)}",
            ("yes" if device.mps else "no") if device.vendor == "nvidia" else "-",
            device.provider,
            device.uuid,
            f"{{{device.vendor}: {device.device_class}}}",
        ]
    ]
    rows.extend(
        [
            f"  MIG {one.profile}",
            _gb(one.memory_bytes),
            *["-"] * 4,
            device.provider,
            one.uuid,
            f"{{{device.vendor}: {one.device_class}}}",
        ]
        for one in device.mig_instances
    )
    return rows


def _gb(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1e9:.1f} GB"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
