"""The command line: what is typed, and what a terminal or a script is shown. Not for anything a cluster needs too.

``--help`` must be quick, so ``main`` and ``app`` import nothing but Typer; each command imports its own module late.
"""
