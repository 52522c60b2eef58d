"""Seeded histories of phones, people, network, processes and database over the real service; every
promise is checked.
"""
