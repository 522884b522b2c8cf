"""The load generator: requests at a rate or a concurrency against any OpenAI-compatible URL, and what they measured."""
