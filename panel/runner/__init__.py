"""The runner: one process per Run, parent of the Run's processes."""
