"""`python -m service`."""

from service.cli.app import app

app()
