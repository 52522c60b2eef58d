"""Daily visits as they are listed."""
