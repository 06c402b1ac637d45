"""Files: validated whole on load, written whole or not at all, never overwritten unasked."""

from penstock.files.models import Name, StrictModel, within
from penstock.files.reading import read_json, read_text, read_yaml, validate
from penstock.files.writing import refuse_overwrite, write_json, write_text, write_whole

__all__ = [
    "Name",
    "StrictModel",
    "read_json",
    "read_text",
    "read_yaml",
    "refuse_overwrite",
    "validate",
    "within",
    "write_json",
    "write_text",
    "write_whole",
]
