"""A plugin of pytest: a BatchTest's combinations and cases as tests. ``plugin`` is what pytest loads.

Not for judging: the batch is run by ``batchyard run``, once in a session, and its result is read.
"""
