"""What load arrives: arrays of arrivals from a rate and an arrival process."""
