"""Where what imports keep is encrypted for."""

from service.kit.encryption import Place


def body_place(id: str, number: int, part: int) -> Place:
    """Where a part of a file is encrypted for."""
    return Place("roster_import_file", "body", f"{id}\0{number}\0{part}")


def effect_place(id: str, kind: str, key: str) -> Place:
    """Where the values of an effect are encrypted for."""
    return Place("import_effect", "body", f"{id}\0{kind}\0{key}")
