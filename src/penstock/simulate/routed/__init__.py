"""The simulator of policies that reserve a whole route for each batch."""
