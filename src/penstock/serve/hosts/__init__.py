"""Many hosts: an agent on each supervises its workers (``agent``), and the head speaks to all agents (``hub``).

Read ``agent_messages`` first, then ``host_line`` (how they travel), ``hub`` and ``agent``. ``rehearsal`` makes hosts
of this machine, ``launcher`` says what starts an agent elsewhere.
"""
