"""What is owed to the people in the records: exports of what is kept of them, clearing after a
time, keys that change.
"""
