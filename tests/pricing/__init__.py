"""Tests of pricing: a module beside each module, and an oracle that prices one record at a time."""
