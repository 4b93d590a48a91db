"""A quarter of three facilities by the command line, and an independent sum of it."""
