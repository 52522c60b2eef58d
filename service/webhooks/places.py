"""Where what webhooks keep is encrypted for."""

from service.kit.encryption import Place


def address_place(id: str) -> Place:
    """Where the address of a webhook is encrypted for."""
    return Place("webhook", "address", id)


def secret_place(id: str) -> Place:
    """The same of its secret."""
    return Place("webhook", "secret", id)
