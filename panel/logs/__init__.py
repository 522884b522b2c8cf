"""Logs of any size: read in windows, searched in blocks, explained region by region; knows no run and no browser."""
