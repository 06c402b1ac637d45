"""Engines start, watch and restart the processes of a server. ``local``: all on this host."""
