"""The panel inside a notebook: `from pdpanel.panel import launch; launch()`."""
