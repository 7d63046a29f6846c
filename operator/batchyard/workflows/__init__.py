"""Running workflows and keeping their states: the LangGraph adapter, one in memory, and what they share."""
