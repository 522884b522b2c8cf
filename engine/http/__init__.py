"""The workers' HTTP API: SGLang's and OpenAI's routes."""
