"""The pure rules of the protocol, tested without a service; not installed with the package."""
