"""What every result can do: print as the command line's tables, show as HTML, give a data frame, draw a picture."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, final

from penstock.api.showing.tables import Part, as_html, as_text
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Library = Literal["pandas", "polars"]
LIBRARIES: tuple[Library, ...] = ("pandas", "polars")


class Shown(ABC):
    """A result. ``warnings`` are sentences for people; they are printed below the tables."""

    warnings: tuple[str, ...] = ()

    @abstractmethod
    def parts(self) -> list[Part]:
        """The tables and lines that the command line prints."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The result as the JSON document that the command line prints with ``--json``. Units are in the names."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """The rows of :meth:`to_frame`: plain values by column name, the unit in the name."""

    @abstractmethod
    def plot(self) -> Figure:
        """The picture of the result. :class:`MissingExtraError` without matplotlib (extra ``report``)."""

    @final
    def __str__(self) -> str:
        return as_text([*self.parts(), *(f"warning: {text}" for text in self.warnings)]).rstrip("\n")

    @final
    def _repr_html_(self) -> str:
        """For notebooks."""
        return as_html([*self.parts(), *(f"warning: {text}" for text in self.warnings)])

    @final
    def to_frame(self, library: Library | None = None) -> Any:
        """The rows as a data frame of ``library``, by default of the one that is installed (pandas before polars).

        :class:`BadInputError` if none is installed.
        """
        return frame_of(self.records(), library)


def frame_of(records: Sequence[Mapping[str, Any]], library: Library | None = None) -> Any:
    """``records`` as a data frame; see :meth:`Shown.to_frame`."""
    if library is not None and library not in LIBRARIES:
        raise BadInputError(f"library (={library!r}) must be one of {', '.join(LIBRARIES)}.")
    wanted = LIBRARIES if library is None else (library,)
    for name in wanted:
        try:
            frames = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        return frames.DataFrame([dict(record) for record in records])
    raise BadInputError(
        f"a data frame needs {' or '.join(wanted)}, and it is not installed: pip install {wanted[0]}. "
        f"records() gives the same rows as dictionaries."
    )
