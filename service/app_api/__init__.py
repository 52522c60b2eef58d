"""What the “包头农牧” app asks for: herders' requests, villages with public contacts, statistics
without personal data.
"""
