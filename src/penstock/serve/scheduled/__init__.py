"""Many models on one device: a policy of :mod:`penstock.schedule.device` decides which segment runs next.

The modules for a GPU import torch when they are used, and nothing else outside the standard library.
"""
