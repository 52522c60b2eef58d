"""The history of a record: who changed which field, when, from which device, and what lost."""
