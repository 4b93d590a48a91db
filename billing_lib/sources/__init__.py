"""Usage files of every kind, read into one usage frame."""
