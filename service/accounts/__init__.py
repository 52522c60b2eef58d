"""Cadres, their phones and passwords, as administrators and supervisors keep them."""
