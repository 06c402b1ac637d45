"""The halves of a device that ``benchmarks/device_gpu.py`` gives to two models, on a driver that is made up."""

# ruff: noqa: N802 - the driver names its functions so

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def green(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from device_gpu_parts import green

    yield green


class Driver:
    """A device of ``sms`` multiprocessors; a resource is a range of them, rounded up to groups of eight."""

    CUdevResourceType = SimpleNamespace(CU_DEV_RESOURCE_TYPE_SM="sm")

    def __init__(self, sms: int, refuses: str = "") -> None:
        self._sms, self._refuses = sms, refuses
        self.contexts: list[tuple[int, int]] = []
        self._streams = 100

    def _told(self, what: str, *made: Any) -> tuple[Any, ...]:
        return (1 if what == self._refuses else 0, *made)

    def _resource(self, start: int, stop: int) -> Any:
        return SimpleNamespace(sm=SimpleNamespace(smCount=stop - start), span=(start, stop))

    def cuDeviceGet(self, index: int) -> tuple[Any, ...]:
        return self._told("cuDeviceGet", index)

    def cuDeviceGetDevResource(self, device: int, kind: str) -> tuple[Any, ...]:
        assert kind == "sm"
        return self._told("cuDeviceGetDevResource", self._resource(0, self._sms))

    def cuDevSmResourceSplitByCount(self, groups: int, whole: Any, flags: int, least: int) -> tuple[Any, ...]:
        (start, stop), size = whole.span, -(-least // 8) * 8
        assert groups == 1
        made = [self._resource(start, start + size)]
        return self._told("split", made, 1, self._resource(start + size, stop))

    def cuDevResourceGenerateDesc(self, resources: list[Any], count: int) -> tuple[Any, ...]:
        (resource,) = resources
        return self._told("describe", resource.span)

    def cuGreenCtxCreate(self, description: tuple[int, int], device: int, flags: int) -> tuple[Any, ...]:
        assert flags == 1, "a green context must have the default stream"
        self.contexts.append(description)
        return self._told("cuGreenCtxCreate", description)

    def cuGreenCtxStreamCreate(self, context: Any, flags: int, priority: int) -> tuple[Any, ...]:
        self._streams += 1
        return self._told("stream", self._streams)


def test_two_halves_share_no_multiprocessor(green: ModuleType) -> None:
    """132 as on an H200: 64 and the 68 that are left, never twice the first 64."""
    driver = Driver(132)
    first, second = green.halves(driver, 0, 8)
    assert (first.sms, second.sms) == (64, 68)
    assert driver.contexts == [(0, 64), (64, 132)]
    assert first.handles == tuple(range(101, 109))
    assert not set(first.handles) & set(second.handles)


def test_what_the_driver_refuses_is_named(green: ModuleType) -> None:
    with pytest.raises(green.NoGreenContextsError, match="cuGreenCtxCreate: 1"):
        green.halves(Driver(132, "cuGreenCtxCreate"), 0, 8)
    with pytest.raises(green.NoGreenContextsError, match="8 multiprocessors were split into 8 and 0"):
        green.halves(Driver(8), 0, 8)


def test_without_bindings_it_says_so(green: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(green.NoGreenContextsError, match="torch's own green contexts overlap"):
        green.import_driver()
