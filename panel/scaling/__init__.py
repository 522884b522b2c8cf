"""More or fewer workers of a deployment that runs: what would change, and what stays as it is."""
