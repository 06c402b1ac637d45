"""The exact search: there are few templates, all are listed, and a proof says how good the plan is."""
