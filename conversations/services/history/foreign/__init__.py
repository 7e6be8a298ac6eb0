"""Exports of other chat applications, read as rows of ours. Files that this service wrote are for `history.importing`."""
