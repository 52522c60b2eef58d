"""Requests made up from the OpenAPI document, against a real process: bounded in `make test`, long with `make fuzz`."""
