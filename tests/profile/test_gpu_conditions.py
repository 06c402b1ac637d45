"""What a profile of a GPU says besides times: clocks under load, copies. On devices that are made up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from penstock.device.facts import DeviceFacts
from penstock.profile.links import Link, fit_link
from penstock.profile.measured_machine import Machine
from penstock.profile.measuring.link_times import SIZES, End, time_links
from penstock.profile.measuring.steady_clocks import ClockWatch, clocks_seen, warm_until_steady

L4 = DeviceFacts(
    "nvidia", 0, "NVIDIA L4", "L4", "GPU-1", "CUDAExecutionProvider", sm_clock_mhz=2040, memory_clock_mhz=6251
)


class TestWarmUp:
    def test_it_ends_when_three_slices_agree(self):
        times = iter([30.0, 20.0, 10.0, 10.05, 10.02, 99.0])
        assert warm_until_steady(lambda: next(times), 16)
        assert next(times) == 99.0, "no slice more than needed"

    def test_a_clock_that_creeps_is_not_steady(self):
        """Neighbours agree within 0.8%, but three in a row span 1.6%."""
        times = (100 * 0.992**turn for turn in range(100))
        assert not warm_until_steady(lambda: next(times), 16)


class TestClocks:
    def test_idle_readings_do_not_count(self):
        idle = replace(L4, sm_clock_mhz=210, throttle_reasons=("idle",))
        hot = replace(L4, sm_clock_mhz=1500, throttle_reasons=("hardware thermal",))
        seen = clocks_seen([idle, L4, hot, replace(L4, sm_clock_mhz=2010), idle])
        assert seen is not None
        assert (seen.sm_clock_mhz, seen.least_sm_clock_mhz, seen.memory_clock_mhz) == (2010, 1500, 6251)
        assert seen.throttle_reasons == ("hardware thermal",)
        machine = seen.put_into(Machine("NVIDIA L4", "L4", sm_clock_mhz=210, throttle_reasons=("idle",)))
        assert (machine.sm_clock_mhz, machine.least_sm_clock_mhz) == (2010, 1500)
        assert clocks_seen([idle]) is None

    def test_the_watch_reads_until_its_end(self):
        enough = threading.Event()

        class Meter:
            reads = 0

            def read(self) -> DeviceFacts:
                self.reads += 1
                if self.reads >= 3:
                    enough.set()
                return replace(L4, sm_clock_mhz=2000 - 10 * min(self.reads, 3))

        meter = Meter()
        with ClockWatch(meter, period_s=0.001) as watch:
            assert enough.wait(30)
        assert watch.seen is not None
        assert watch.seen.least_sm_clock_mhz == 1970
        at_end = meter.reads
        assert not any(thread.name == "clock-watch" for thread in threading.enumerate())
        assert meter.reads == at_end

    def test_without_a_driver_nothing_is_seen(self):
        class NoDriver:
            def read(self) -> None:
                return None

        with ClockWatch(NoDriver(), period_s=0.001) as watch:
            pass
        assert watch.seen is None


class TestLinks:
    def test_a_line_is_found_again(self):
        """7 us and 25 GB/s, which are 40 ps a byte."""
        times = [7 + size * 4e-5 for size in SIZES]
        link = fit_link("host-to-device", SIZES, times)
        assert link.fixed_us == pytest.approx(7, abs=1e-3)
        assert link.gbytes_per_s == pytest.approx(25, rel=1e-3)
        assert link.gbps == pytest.approx(200, rel=1e-3)
        assert link.copy_us(1_000_000) == pytest.approx(47, rel=1e-3)

    def test_no_copy_starts_before_it_is_asked_for(self):
        """Times below their own line at small sizes would give a start below 0: then all goes into the rate."""
        link = fit_link("host-to-device", (1000, 2000, 4000), (1.0, 2.2, 4.8))
        assert link.fixed_us == 0
        assert 0.8 < link.gbytes_per_s < 1.0

    def test_times_that_do_not_grow_are_the_rate_of_the_largest(self):
        link = fit_link("device-to-device", (1000, 2000), (10.0, 10.0))
        assert link.gbytes_per_s == pytest.approx(0.2)

    def test_every_way_is_timed(self):
        class TwoGpus:
            def ends(self) -> Sequence[End]:
                return [
                    End("host-to-device"),
                    End("device-to-host"),
                    End("device-to-device", "GPU-2", is_direct=True),
                ]

            def copy_us(self, end: End, size_bytes: int) -> float:
                fixed_us, gbytes = {"": (10.0, 20.0), "GPU-2": (5.0, 200.0)}[end.peer]
                return fixed_us + size_bytes / gbytes / 1e3

        to, back, peer = time_links(TwoGpus())
        assert (to.kind, back.kind) == ("host-to-device", "device-to-host")
        assert peer == Link("device-to-device", 5.0, 200.0, "GPU-2", is_direct=True)
        assert np.isclose(to.gbytes_per_s, 20)
