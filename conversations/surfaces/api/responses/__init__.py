"""Response bodies of the primary surface. They import no service."""
