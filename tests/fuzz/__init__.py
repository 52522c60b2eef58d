"""Requests made up from the OpenAPI document and from a grammar of the sync: bounded in `make
test`, long with `make fuzz`.
"""
