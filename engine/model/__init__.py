"""Models: where they come from, their shape, weights and forward pass."""
