"""Which way the KV of a deployment really travels: test requests, counters before and after, and a verdict."""
