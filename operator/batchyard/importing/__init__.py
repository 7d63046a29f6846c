"""Other tools' test files as cases of ours: one pure reader a format, and every loss said.

Not for reading or writing files; ``cli.importing`` does that. Not for running what a file names: no JavaScript, no
Python and no network address in it is ever followed.
"""
