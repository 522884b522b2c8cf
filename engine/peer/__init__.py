"""What prefill and decode workers say to each other."""
