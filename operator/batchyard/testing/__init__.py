"""Shipped for tests: fakes, builders and conformance suites."""
