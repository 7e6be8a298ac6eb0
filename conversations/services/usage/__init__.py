"""What users used, and how much they may use."""
