"""What staff and operators read and record about users. What they delete, hold or export of a user is in `history`."""
