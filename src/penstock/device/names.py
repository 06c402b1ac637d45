"""From a vendor's marketing name to a device class: ``NVIDIA H100 80GB HBM3`` is an ``H100``."""

from __future__ import annotations

import re

MAKERS = frozenset(
    {"nvidia", "tesla", "geforce", "amd", "instinct", "radeon", "intel", "intel(r)", "graphics"}
)
# Sizes and forms of one chip. They matter to its speed a little (an H100 PCIe is slower than an H100 SXM5), so a
# requirement may still name them.
_FORM = re.compile(r"\d+gb|sxm\d*|pcie|nvl|hbm\d\w*|generation|oam", re.IGNORECASE)
_MIG = re.compile(r"\bMIG (?P<profile>\S+)$")


def words_of(name: str) -> list[str]:
    """The words of a device's name: hyphens separate as spaces do."""
    return [word for word in re.split(r"[\s-]+", name) if word]


def device_class_of(name: str) -> str:
    """The class of a device called ``name``; a MIG instance's has its profile at the end."""
    mig = _MIG.search(name)
    whole = name[: mig.start()] if mig else name
    kept = [word for word in words_of(whole) if word.lower() not in MAKERS and not _FORM.fullmatch(word)]
    found = " ".join(kept) or name.strip()
    return f"{found} MIG {mig['profile']}" if mig else found


def mig_profile_of(name: str) -> str:
    """The profile (``1g.10gb``) of a MIG instance called ``name``; empty for a whole device."""
    mig = _MIG.search(name)
    return mig["profile"] if mig else ""
