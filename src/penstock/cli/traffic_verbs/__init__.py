"""The verbs of ``penstock traffic`` that are about streams."""
