"""The results of the questions: one module each, with the work that makes it."""
