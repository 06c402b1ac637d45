"""Engines start, watch and restart the processes of a server. ``local_engine`` runs all of them on this host."""
