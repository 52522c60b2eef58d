"""The conventions of HTTP that hold for every route: ids, logs, limits of bodies, ETags, links,
repeated requests.
"""
