"""Arrival processes: renewal, modulated, on/off, daily, and replay of a trace."""
