"""`gridloop conformance`: plays PROTOCOL.md's transcripts and a seeded simulation against any
client, and says what it gets wrong.
"""
