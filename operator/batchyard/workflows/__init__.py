"""Running workflows and keeping their states: the LangGraph adapter, an in-memory one for tests, and what they share."""
