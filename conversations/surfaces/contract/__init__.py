"""The contract surface: exactly what the platform's published contract describes, and nothing else."""
