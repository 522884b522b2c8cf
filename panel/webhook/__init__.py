"""Tells a URL of the person's own when a process crashes and when a run fails or recovers; sent by the run's runner."""
