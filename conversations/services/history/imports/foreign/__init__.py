"""Exports of other chat applications, read as rows of ours. What this service wrote is for `history.imports.importing`."""
