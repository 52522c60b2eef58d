"""Outgoing webhooks: apps and group robots are told of what has happened."""
