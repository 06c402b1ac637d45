"""The search for large spaces. Templates are too many to list, so the search prices them."""
