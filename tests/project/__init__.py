"""The repository itself: its documents, texts and layers."""
