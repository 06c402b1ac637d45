"""The rules that reserve a whole route for each batch, by name; ``docs/policies.md`` says which to use when."""

RESERVATION, WHOLE_BATCH, EDF, PENSTOCK = 0, 1, 2, 3

RULES = {"reservation": RESERVATION, "whole-batch": WHOLE_BATCH, "edf": EDF, "penstock": PENSTOCK}
"""What a rule is called outside of kernels."""
