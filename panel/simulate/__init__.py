"""Hosts that are made up: their descriptions, the files that stand for them, and the counters that move in those."""
