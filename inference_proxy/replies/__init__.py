"""Replies in the making: generations, transcripts, frames, and their streams. Not how a server is asked."""
