"""The rules that choose what a routed policy does next, one a file, and the reactive policy."""
