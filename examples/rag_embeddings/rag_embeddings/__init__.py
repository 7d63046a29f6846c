"""Answers questions of a library's visitors from its notices, found by words or by meaning."""
