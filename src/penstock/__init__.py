"""Penstock: deep-learning inference under a latency objective on a fleet of unlike GPUs.

One pipe, its stations in the order that data passes them::

    graph -> profile -> partition -> plan -> schedule -> simulate | serve -> report

Importing the package imports none of them, so that start-up stays cheap.
"""

__version__ = "0.1.0"
