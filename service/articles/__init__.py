"""Articles of the “包头农牧” app: the Party's voice, policy, technical guidance; on phones a
read-only kind of the sync feed.
"""
