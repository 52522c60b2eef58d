"""Work in the background: one queue in PostgreSQL that all service processes share."""
