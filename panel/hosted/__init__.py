"""A panel that a notebook or the desktop window runs: a process of its own that ends when nobody uses it any more."""
