"""Plausible conversations for demonstrations, benchmarks and tests. No request uses them."""
