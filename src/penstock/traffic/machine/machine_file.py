"""State machines in files, YAML or JSON, and those that come with the package.

::

    version: 1
    name: door
    states:
      - {name: OPEN}
      - {name: SHUT}
      - {name: LOCKED, within: SHUT}
    transitions:
      - {state: OPEN, event: close, next: SHUT}
      - {state: SHUT, event: lock, next: LOCKED}
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from penstock.errors import BadInputError
from penstock.files import StrictModel, read_yaml, validate
from penstock.traffic.machine.state_machine import ILLEGAL, MOST_STATES, Machine
from penstock.traffic.suggest import suggest

KNOWN_MACHINES = ("lte", "5g", "ngap", "serving")
"""Those in this folder."""

Text = Annotated[str, Field(min_length=1, max_length=80)]


class StateEntry(StrictModel):
    """A state, and the wider one it lies in."""

    name: Text
    within: Text | None = None


class TransitionEntry(StrictModel):
    """An event that may come in a state, and where it leads."""

    state: Text
    event: Text
    next: Text


class MachineFile(StrictModel):
    """The whole file."""

    version: Literal[1]
    name: Text
    states: Annotated[list[StateEntry], Field(min_length=1, max_length=MOST_STATES)]
    transitions: Annotated[list[TransitionEntry], Field(min_length=1)]


def known_machine(name: str) -> Machine:
    """One of :data:`KNOWN_MACHINES`."""
    if name not in KNOWN_MACHINES:
        raise BadInputError(f"machine {name!r} is unknown. {suggest(name, KNOWN_MACHINES)} Or name a file.")
    with resources.as_file(resources.files(__package__).joinpath(f"{name}.yaml")) as path:
        return read_machine(path)


def machine_of(name_or_file: str) -> Machine:
    """The machine that ``--machine`` names: a known one, or a file.

    ``./NAME`` is a file even if a known machine has that name.
    """
    if name_or_file in KNOWN_MACHINES:
        return known_machine(name_or_file)
    path = Path(name_or_file)
    if not path.exists() and path.suffix not in (".yaml", ".yml", ".json"):
        return known_machine(name_or_file)
    return read_machine(path)


def read_machine(path: Path) -> Machine:
    """The machine in ``path``, validated whole. Raises :class:`BadInputError` with file, field, value, rule and
    fix."""
    file = validate(MachineFile, read_yaml(path), path)
    states = [state.name for state in file.states]
    _check_names(path, file, states)
    groups = [state.name for state in file.states if state.within is None]
    within = [groups.index(state.within or state.name) for state in file.states]
    events = list(dict.fromkeys(transition.event for transition in file.transitions))
    next_state = np.full((len(states), len(events)), ILLEGAL, np.int16)
    for number, transition in enumerate(file.transitions):
        place = states.index(transition.state), events.index(transition.event)
        if next_state[place] != ILLEGAL:
            raise BadInputError(
                f"{path}: transitions.{number}: event {transition.event!r} in state {transition.state!r} is given "
                f"twice, but the machine must know one next state. Keep one, or split the state."
            )
        next_state[place] = states.index(transition.next)
    return Machine(
        file.name, tuple(states), tuple(groups), np.array(within, np.int64), tuple(events), next_state
    )


def _check_names(path: Path, file: MachineFile, states: list[str]) -> None:
    twice = next((name for name in states if states.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{path}: states: {twice!r} is given twice. Keep one.")
    groups = {state.name for state in file.states if state.within is None}
    for number, state in enumerate(file.states):
        if state.within is not None and state.within not in groups:
            raise BadInputError(
                f"{path}: states.{number} ({state.name!r}): within (={state.within!r}) must be a state that lies in no "
                f"other. {suggest(state.within, groups)}"
            )
    for number, transition in enumerate(file.transitions):
        for field in ("state", "next"):
            name = getattr(transition, field)
            if name not in states:
                raise BadInputError(
                    f"{path}: transitions.{number}: {field} (={name!r}) is none of the states. {suggest(name, states)}"
                )


def machine_document(machine: Machine) -> dict[str, Any]:
    """``machine`` as the document that :func:`read_machine` reads."""
    return {
        "version": 1,
        "name": machine.name,
        "states": [
            {"name": name}
            if machine.groups[group] == name
            else {"name": name, "within": machine.groups[group]}
            for name, group in zip(machine.states, machine.within.tolist(), strict=True)
        ],
        "transitions": [
            {
                "state": machine.states[state],
                "event": machine.events[event],
                "next": machine.states[machine.next_state[state, event]],
            }
            for event in range(len(machine.events))
            for state in range(len(machine.states))
            if machine.next_state[state, event] != ILLEGAL
        ],
    }
