"""What is left of runs that have ended: their summaries, and what can be removed of them."""
