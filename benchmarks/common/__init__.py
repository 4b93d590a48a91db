"""What the benchmarks share: made usage, peers, measuring, and writing down the results."""
