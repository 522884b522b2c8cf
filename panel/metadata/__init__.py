"""Mooncake's metadata servers: their addresses, the servers themselves, and what engines registered with them."""
