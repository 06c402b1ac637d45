"""Results of sections in a folder, so that a run that was cut off goes on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from penstock.files import write_whole
from traffic_parts.section_list import SECTIONS


def setting(chosen: argparse.Namespace) -> dict[str, Any]:
    """What results of one folder have in common."""
    return {name: getattr(chosen, name) for name in ("streams", "budget", "device", "small", "threads")}


def earlier_sections(chosen: argparse.Namespace) -> dict[str, Any]:
    """The sections whose results lie in the folder. Ends the program if they were found in another setting."""
    found = {}
    for name in SECTIONS:
        path = chosen.folder / f"{name}.json" if chosen.folder else None
        if path and path.exists():
            document = json.loads(path.read_text())
            if document["setting"] != setting(chosen):
                sys.exit(
                    f"{path}: was measured with {document['setting']}, not {setting(chosen)}: name another folder."
                )
            found[name] = document["found"]
    return found


def keep_section(chosen: argparse.Namespace, name: str, found: Any) -> None:
    """Write what section ``name`` found into the folder, if there is one."""
    if not chosen.folder:
        return
    path: Path = chosen.folder / f"{name}.json"
    document = {"setting": setting(chosen), "found": found}
    write_whole(path, lambda made: made.write_text(json.dumps(document)), force=True)
