"""What changed since a cursor: which conversations, told once, in the order of commits. What changes is noted by triggers."""
