"""One device that many models share, simulated: the policy of the dispatchers, driven by simulated events.

Reading order: ``mixes`` (what arrives), ``interference`` (the device as one number, the default),
``device_loop`` (the driver), ``device_record`` (what happened), ``setups`` (policies and baselines by name),
``held_load`` (the load that keeps deadlines), ``service_shares`` (fairness). ``blocks`` is the device in
detail: queues, waves, copies.
"""
