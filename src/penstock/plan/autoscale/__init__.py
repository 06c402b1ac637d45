"""Autoscaling: which devices to ask for and when, so that the load of the next minutes is served at the least cost.

``rungs`` makes plans of least cost for rising rates, ``forecast`` says what load comes, ``scaler`` decides. None of
them reads a clock or asks anybody: the simulator (``simulate/autoscaled``) and the server drive the same decisions.
"""
