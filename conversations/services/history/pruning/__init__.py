"""Delete by age and by rules: conversations, records about users, archive files. What is erased of one user is in `erase`."""
