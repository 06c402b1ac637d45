"""The published PPipe artifact: its profiles, scenarios and plans, and its simulator."""
