"""What staff and the batch do: intake, rating, adjusting, freezing, issuing."""
