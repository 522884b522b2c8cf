"""Judges and repairs what people paste, and turns it into a Deployment: commands, scripts, configs, manifests. Pure."""
