"""Profiles that were measured on real devices and come with the package, for those who have no such device.

``measured/DEVICE/MODEL-PRECISION`` beside this module are ordinary profile folders. Models are the zoo's with seed 0,
pinned by their SHA-256; the profiles name no file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from penstock.errors import BadInputError
from penstock.profile.store import HEADER, load_profile
from penstock.profile.table import Profile

FOLDER = Path(__file__).parent / "measured"


def measured_names() -> tuple[str, ...]:
    """``device/profile`` of every profile, sorted."""
    return tuple(
        sorted(str(path.parent.relative_to(FOLDER).as_posix()) for path in FOLDER.glob(f"*/*/{HEADER}"))
    )


def measured_under(name: str) -> tuple[str, ...]:
    """The profiles that ``name`` means: all of a device, or one; :class:`BadInputError` if there are none."""
    found = tuple(one for one in measured_names() if name in (one, one.partition("/")[0]))
    if not found:
        devices = sorted({one.partition("/")[0] for one in measured_names()})
        raise BadInputError(
            f"no measured profile {name!r}: there are {', '.join(measured_names())}. Give one of these, or a device "
            f"for all of its own ({', '.join(devices)})."
        )
    return found


def measured_profile(name: str) -> Profile:
    """The profile ``device/profile``."""
    (found,) = measured_under(name) if "/" in name else (name,)
    return load_profile(FOLDER / found)


def with_model(profile: Profile, path: Path, sha256: str) -> Profile:
    """``profile`` for the ONNX file ``path``; :class:`BadInputError` if that is another model than was measured."""
    if profile.model_sha256 != sha256:
        raise BadInputError(
            f"{path}: not the model that was measured (SHA-256 {sha256[:12]}..., measured "
            f"{str(profile.model_sha256)[:12]}...). Write it with: penstock zoo {profile.model} -o {path.name}"
        )
    return replace(profile, model_file=str(path.absolute()))
