"""A day with a fleet that follows the load: nodes come late, plans are switched, old plans drain."""
