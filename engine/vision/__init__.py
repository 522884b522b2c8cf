"""Images: the vision part of a model, encoder workers, and what a text worker needs of both."""
