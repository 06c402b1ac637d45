"""Parts of ``rebatch.py``: templates, plans and a simulator in which each stage has a batch of its own."""
