"""The web interface: FastAPI, Gradio and the live socket."""
