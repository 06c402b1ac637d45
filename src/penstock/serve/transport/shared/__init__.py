"""Messages and tensors between processes of one host: a socket a link, and memory of the sender for large tensors.

``doorbell`` has the packets. ``block_pool`` has the rules of the memory, without I/O; ``memory_file`` and ``lease`` are
its two ends. ``shared_link`` sends, ``shared_inbox`` receives, ``shared_memory`` puts them together.
"""
