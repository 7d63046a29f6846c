"""Where trials run: environment providers."""
