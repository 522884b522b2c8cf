"""Programs that plans carry to other hosts as files; nothing here is imported."""
