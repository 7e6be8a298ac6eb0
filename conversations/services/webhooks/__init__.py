"""Webhooks: the outbox of events, and their delivery. Which events are noted is in the triggers of migration 0053."""
