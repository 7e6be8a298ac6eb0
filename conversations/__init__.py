"""Conversations and their replies: models, services, surfaces, the admin. Not how the inference service is asked."""
