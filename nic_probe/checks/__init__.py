"""Judgements about a probed host: each check is pure, from values to findings."""
