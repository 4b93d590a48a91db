"""Exports: packages, a facility's own templates, and documents in files."""
