"""Money, periods, rates, splits: pure functions, frames in and frames out, no I/O."""
