"""How staff sign in to the admin: single sign-on by OpenID Connect, passwords and a second factor, and their sessions.

Users of the API never come here: their tokens are checked in `chatapi.auth`.
"""
