"""The desktop window of the panel, and its entry in the desktop's menu."""
