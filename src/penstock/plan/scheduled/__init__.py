"""Scheduled shares: several models use one device, and one dispatcher lets them take turns by segments."""
