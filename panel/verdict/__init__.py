"""What limits a run now: a rule over its newest samples, the evidence, and what to try."""
