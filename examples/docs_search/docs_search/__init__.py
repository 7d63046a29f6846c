"""A small question answering workflow over the Python language reference; see ``graph.build``."""
