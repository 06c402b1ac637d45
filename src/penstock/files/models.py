"""The base of every file model, and the types of fields that several files have."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from penstock.errors import BadInputError
from penstock.files.messages import explain

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
"""Names that stand in URLs, file names and tables: letters, digits, and ``_ . + -`` inside."""


def within(low: float, high: float, *, or_zero: bool = False) -> AfterValidator:
    """A rule for a number's field: from ``low`` to ``high``, or 0 where that stands for none.

    Bounds are for quantities, not for taste: what lies beyond is a slip of the pen or the unit, and would
    reach an optimiser whose tolerances are absolute.
    """

    def check(value: float) -> float:
        if not (low <= value <= high or (or_zero and value == 0)):
            raise ValueError(f"must be {'0, or ' if or_zero else ''}from {low:g} to {high:g}")
        return value

    return AfterValidator(check)


class StrictModel(BaseModel):
    """Base of every file model: immutable, no unknown fields, no silent coercion of strings to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def edited(self, **changes: Any) -> Self:
        """A copy with the fields in ``changes``, checked by the same rules as a document that is read.

        :class:`BadInputError` if a rule is broken. Fields that were not given stay so.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            return type(self)(**(given | changes))
        except ValidationError as error:
            kind = type(self)
            raise BadInputError(explain(error, f"{kind.__name__} after a change", kind, changes)) from None
