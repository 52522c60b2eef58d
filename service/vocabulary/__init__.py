"""Calendar, time limits and lists of words as data: what an administrator of the city may change
without a new release. Until something is written here, the code and the settings say it.
"""
