"""Latency predicted for devices that are not available, compared with measurements, and calibrated by them."""
