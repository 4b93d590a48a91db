"""The batch: a month of many facilities, and issuing under a lock."""
