"""Where facts about a host come from: its own kernel files, a capture of them, or a topology file."""
