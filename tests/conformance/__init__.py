"""Vectors and transcripts, a second client, and what the conformance test says of broken ones."""
