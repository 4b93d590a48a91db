"""The audit record of a run: seal, verify, reproduce."""
