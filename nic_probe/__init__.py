"""What this host is: read-only, knows nothing of the rest."""
