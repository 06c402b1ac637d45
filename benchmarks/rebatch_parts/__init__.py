"""Parts of ``rebatch.py``: a simulator of split stages of its own, and the comparison with the product's."""
