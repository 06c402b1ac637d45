"""``serve --autoscale``: the load of the last minutes decides which devices a user's hook is asked for, and which plan
of the ladder is served.

The hook is a command. It gets one more word: the devices to have in all, as JSON (``{"L4": 2, "T4": 3}``). It exits
with 0 when they are there; those beyond may go. It may be called twice with the same word. It is killed after a time,
and asked again at the next decision. Without a hook nothing is asked for and nothing switched: what would be done is
noted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from penstock.errors import BadInputError
from penstock.plan.autoscale.forecast import DayBefore, Forecast, LiveForecast
from penstock.plan.autoscale.ladder_file import Ladder
from penstock.plan.autoscale.rungs import load_factor
from penstock.plan.autoscale.scaler import Scaler
from penstock.record import Outcome
from penstock.serve.engine.command import Command, Running, verb
from penstock.serve.observe.catalogue import REQUESTS, SAMPLES, Ending
from penstock.serve.observe.counter_file import Totals
from penstock.units import US_PER_S, us_from_seconds

HOOK_S = 600.0
_LOAD = {outcome.text for outcome in Outcome} | {Ending.REFUSED.value}
"""The outcomes of requests that the fleet would have had to serve."""


@dataclass(frozen=True)
class LadderToFollow:
    """``folder`` has the ``ladder``. ``hook``: the words of a user's command, empty for a dry run."""

    folder: Path
    ladder: Ladder
    hook: tuple[str, ...] = ()
    hook_us: int = round(HOOK_S * US_PER_S)

    def rung_of(self, plan: str | Path | None) -> int:
        """The rung whose plan is the file ``plan``; :class:`BadInputError` if there is none."""
        for place, rung in enumerate(self.ladder.rungs):
            if plan is not None and (self.folder / rung.plan).resolve() == Path(plan).resolve():
                return place
        names = ", ".join(rung.plan for rung in self.ladder.rungs)
        raise BadInputError(
            f"{plan} is no plan of the ladder {self.folder}. Serve one of them first: {names}."
        )


@final
class LiveScaling:
    """Follows the load of a server, which begins with rung ``serving``. ``run`` is its run folder.

    ``counted`` reads its counters. ``start_hook`` and ``start_verb`` are for tests.
    """

    def __init__(
        self,
        follow: LadderToFollow,
        serving: int,
        run: Path,
        counted: Callable[[], Totals],
        note: Callable[[str], None],
        *,
        start_hook: Callable[[Sequence[str]], Running] = Command,
        start_verb: Callable[[Sequence[str]], Running] = verb,
    ) -> None:
        self._follow = follow
        self._run = run
        self._counted = counted
        self._note = note
        self._start_hook = start_hook
        self._start_verb = start_verb
        self._rules = follow.ladder.scaling_rules
        self._rungs = follow.ladder.steps
        self._scaler = Scaler(self._rungs, self._rules, serving)
        is_daily = follow.ladder.forecast == "yesterday"
        self._forecast: Forecast = DayBefore() if is_daily else LiveForecast()
        self._serving = serving
        self._there = dict(self._rungs[serving].devices)
        self._samples: dict[str, float] | None = None
        self._next_us = 0
        self._counted_us = 0
        self._asking: tuple[Running, Mapping[str, int], int] | None = None
        self._switching: tuple[Running, int] | None = None
        self._would = self._would_do(self._there, serving)

    def turn(self, now_us: int) -> None:
        """Go on: look after the commands that run, and decide if it is time."""
        self._look_after_hook(now_us)
        self._look_after_switch()
        if now_us >= self._next_us:
            self._next_us = now_us + us_from_seconds(self._rules.every_s)
            self._measure(now_us)
            self._decide(now_us)

    def served(self, plan: str) -> None:
        """The server has switched to ``plan``, if by itself or not."""
        with suppress(BadInputError):  # somebody switched to another plan: it counts as the rung before
            self._serving = self._follow.rung_of(plan)

    def close(self) -> None:
        """End the commands that run."""
        for running in (self._asking, self._switching):
            if running is not None:
                running[0].kill()
        self._asking = self._switching = None

    def _measure(self, now_us: int) -> None:
        """What came since the last look, as a factor of the base rates."""
        samples = _samples_asked(self._counted(), list(self._follow.ladder.base_rps))
        before, self._samples = self._samples, samples
        seconds = (now_us - self._counted_us) / US_PER_S
        self._counted_us = now_us
        if before is not None:
            rates = [(samples[model] - before[model]) / seconds for model in samples]
            factor = load_factor(rates, self._follow.ladder.base_rps.values())
            self._forecast.observe(now_us / US_PER_S, max(factor, 0.0))

    def _decide(self, now_us: int) -> None:
        now_s = now_us / US_PER_S
        peak = self._forecast.peak(now_s, self._rules.ahead_s)
        decision = self._scaler.step(now_s, peak, self._there, self._serving)
        if not self._follow.hook:
            self._there, self._serving = dict(decision.want), decision.serve
            would = self._would_do(decision.want, decision.serve)
            if would != self._would:
                self._note(f"autoscale, dry run, load {peak:.2f} of the base rates: {would}")
            self._would = would
            return
        if self._asking is None and dict(decision.want) != self._there:
            self._ask(decision.want, peak, now_us)
        if self._switching is None and decision.serve != self._serving:
            plan = self._follow.folder / self._follow.ladder.rungs[decision.serve].plan
            self._note(f"autoscale: switching to {plan.name}")
            running = self._start_verb(["switch", str(plan), "--run", str(self._run)])
            self._switching = running, decision.serve

    def _would_do(self, want: Mapping[str, int], serve: int) -> str:
        return f"would have {_in_words(want)} and serve {self._follow.ladder.rungs[serve].plan}"

    def _ask(self, want: Mapping[str, int], peak: float, now_us: int) -> None:
        self._note(
            f"autoscale: load {peak:.2f} of the base rates expected; asking for {_in_words(want)} in all"
        )
        words = [*self._follow.hook, json.dumps(dict(want))]
        try:
            running = self._start_hook(words)
        except OSError as error:
            self._note(f"autoscale: the hook {words[0]} cannot be started ({error.strerror or error})")
            return
        # What is given back may go at once: count on no more than both have.
        self._there = {name: min(count, self._there.get(name, 0)) for name, count in want.items()}
        self._asking = running, want, now_us + self._follow.hook_us

    def _look_after_hook(self, now_us: int) -> None:
        if self._asking is None:
            return
        running, want, until_us = self._asking
        said = running.ended()
        if said is None and now_us >= until_us:
            running.kill()
            said = f"it was killed after {self._follow.hook_us / US_PER_S:.0f} s"
        if said is None:
            return
        self._asking = None
        if said:
            self._note(f"autoscale: the hook failed, and is asked again later: {said}")
        else:
            self._there = dict(want)

    def _look_after_switch(self) -> None:
        if self._switching is None or (said := self._switching[0].ended()) is None:
            return
        if said:
            self._note(f"autoscale: the plan stays as it is for now: {said}")
        else:
            self._serving = self._switching[1]
        self._switching = None


def _samples_asked(totals: Totals, models: Sequence[str]) -> dict[str, float]:
    """How many samples were asked for so far: of requests without an answer as many as of the others in the mean."""
    asked = {}
    for model in models:
        requests = {
            labels[1]: slots[0]
            for (name, labels), slots in totals.items()
            if name == REQUESTS.name and labels[0] == model and labels[1] in _LOAD
        }
        answered = requests.get(Outcome.MET.text, 0) + requests.get(Outcome.LATE.text, 0)
        samples = totals.get((SAMPLES.name, (model,)), [0])[0]
        asked[model] = sum(requests.values()) * (samples / answered if answered else 1.0)
    return asked


def _in_words(devices: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(devices.items()))
