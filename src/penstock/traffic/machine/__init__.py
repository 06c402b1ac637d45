"""State machines as data: which event may follow in which state."""

from penstock.traffic.machine.machine_file import KNOWN_MACHINES, known_machine, machine_of, read_machine
from penstock.traffic.machine.state_machine import Machine
from penstock.traffic.machine.violations import Violations, find_violations

__all__ = [
    "KNOWN_MACHINES",
    "Machine",
    "Violations",
    "find_violations",
    "known_machine",
    "machine_of",
    "read_machine",
]
