"""KV transports behind one protocol."""
