"""The verbs of staff and of the batch: load, rate, review, adjust, approve, issue, deliver."""
