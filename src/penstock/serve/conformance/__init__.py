"""``penstock conformance``: what a server of the Open Inference Protocol does of it, check by check.

A check is a function that gets a :class:`~.framework.Server` and raises :class:`~.framework.NotConformingError`
with what it saw. Its docstring is its name in the table. Checks know nothing of Penstock: they can be pointed at
any server.
"""
