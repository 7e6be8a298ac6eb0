"""What users used, what it cost, and how much they may use. Rates and running replies are limited elsewhere."""
