"""The GPUs and other accelerators of a host, from every library that can name them."""
