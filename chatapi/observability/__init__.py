"""What operators see: logs, metrics, traces. Not what is counted where: each room counts its own."""
