"""The bundled router: pairs of workers, relay, retry."""
