"""What engines, Mooncake and the host say about a run, as values: parsers and vocabularies, no sockets and no clock."""
