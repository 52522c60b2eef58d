"""Ties between cadres and households: contact 党员联系, contracted 包联, family 结亲."""
