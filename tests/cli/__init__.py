"""The command line, by its real program and its own words."""
