"""Questions about a plan: what limits it, what it leaves free, what it costs, and how two plans differ."""
