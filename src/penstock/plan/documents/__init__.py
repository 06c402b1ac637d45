"""What the planner reads and writes: scenarios, plans, the checker of plans, and how they are stored."""
