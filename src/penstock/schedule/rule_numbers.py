"""The rules that reserve a whole route for each batch, by name. ``docs/policies.md`` says when to use which."""

RESERVATION, WHOLE_BATCH, EDF, PENSTOCK = 0, 1, 2, 3

RULES = {"reservation": RESERVATION, "whole-batch": WHOLE_BATCH, "edf": EDF, "penstock": PENSTOCK}
"""The name of each rule, and its code in kernels."""

DEFAULT_POLICY = "penstock"
"""The policy of the simulator, the closed loop and the server, unless the user names another: the best known."""
