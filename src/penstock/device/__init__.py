"""Accelerators of this machine: what they are, whether they are the ones that a scenario asks for, which is whose.

Reading order: ``facts`` (what is known of a device), ``discover`` (all devices of this machine), ``nvml`` and
``pci`` (where the facts come from), ``requirement`` (is it the right one), ``assignment`` (which worker gets it).
"""
