"""One module for each suite of `pdpanel bench` that compares the bundled engine with its peers."""
