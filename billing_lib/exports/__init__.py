"""Exports: packages, facility templates and the store they are kept in."""
