"""The pictures of a run. Each has a caption, a text that says the same, and its numbers as CSV."""
