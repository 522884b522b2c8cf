"""The bundled serving engine: prefill, decode and unified workers, and the router."""
