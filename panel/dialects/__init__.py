"""Dialects: from a placed deployment to commands and files."""
