"""Whether a device class that is to be measured here is what its name says."""

from __future__ import annotations

from penstock.errors import BadInputError
from penstock.profile.machine_here import machine_at_hand
from penstock.profile.prediction.device_catalogue import CATALOGUE
from penstock.runtime.settings import RuntimeSettings


def check_known_class(device_class: str, settings: RuntimeSettings) -> None:
    """Raise :class:`BadInputError` if ``device_class`` is the name of a known GPU and something else would be measured.

    A plan that mixes such a profile with real ones would be wrong by the speed of a processor. Names that are not in
    the catalogue may mean anything.
    """
    known = {name.lower() for name in CATALOGUE}
    wanted = device_class.strip().lower()
    if wanted not in known:
        return
    machine = machine_at_hand(settings)
    if machine.device_class.lower() == wanted:
        return
    raise BadInputError(
        f"--device-class {device_class} is the name of a GPU, but {machine.device_name} would be measured. Name the "
        f"class after what it is, such as cpu; estimate with --predict {device_class}; measure on that GPU with "
        f"--device cuda:0; or add --as-emulated to keep the name."
    )
