"""Attached runs: a deployment that somebody else started, watched by a runner of ours; nothing of it is ever ended."""
