"""The planners that a user can name, and their messages if there is no plan."""
