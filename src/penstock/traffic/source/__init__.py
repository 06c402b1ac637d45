"""Loads made of streams: users superposed to a rate, cameras, and a renewal of recorded gaps."""
