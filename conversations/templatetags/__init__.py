"""Template filters of the admin's pages. Other templates have none."""
