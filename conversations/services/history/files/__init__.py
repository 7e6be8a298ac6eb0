"""Files of history: lines of JSON, archives that grow, and what shows that they are whole. Not which rows are in them."""
