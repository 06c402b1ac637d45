"""The pages of the protocol and of Python name every endpoint and every public name."""

from __future__ import annotations

import re

import penstock
from documentation.pages import DOCS
from penstock.serve.protocol.grpc_interface import HEALTH, SERVICE, methods
from penstock.serve.protocol.openapi import openapi

PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")
PYTHON = (DOCS / "python.md").read_text(encoding="utf-8")


def test_every_path_is_documented_and_no_other():
    """``/dashboard`` is for browsers, and so is not in the document for programs."""
    served = {
        path.replace("{model}", "M").replace("{region}", "R")
        for path in openapi(("m",), has_tokens=False, has_regions=True)["paths"]
        if "versions" not in path
    }
    rows = re.findall(r"^\| (`/[^|]*)\|", PROTOCOL, re.MULTILINE)
    told: set[str] = set()
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        # "`/a/load`, `.../unload`": the same path with another end.
        told |= {first, *(other.replace("...", first.rsplit("/", 1)[0]) for other in others)}
    assert told - {"/dashboard"} == served


def test_every_call_of_grpc_is_documented():
    text = PROTOCOL.split("## gRPC", 1)[1].replace(
        "RepositoryModelLoad and Unload", "RepositoryModelLoad RepositoryModelUnload"
    )
    assert {name for name in methods(SERVICE) if not re.search(rf"\b{name}\b", text)} == set()
    assert HEALTH in text


def test_every_public_name_is_documented():
    names = set(penstock.__all__) - {"__version__"}
    told = set(re.findall(r"\b\w+\b", PYTHON))
    assert names - told == set()
