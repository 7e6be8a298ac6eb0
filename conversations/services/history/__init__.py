"""What becomes of history as a whole: pruning, archives, exports, imports, holds, and a user who is erased or moved."""
