"""How the rows of a batch get from one process to the next: who has them, who gets them, and when all are there."""
