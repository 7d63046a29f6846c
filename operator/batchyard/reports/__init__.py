"""A batch's end for people and other programs: HTML, Markdown, JUnit, CSV and Parquet, made from what the store has.

Everything is streamed: memory does not grow with the trials beyond the few numbers that the HTML keeps of each. Not for
judging (``judge``), nor for opening a store (``cli.stores``). Not to be confused with ``batchyard.report``, by which a
workflow says what it used.
"""
