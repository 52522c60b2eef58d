"""The protocol's version numbers.

`PROTOCOL` is what this package speaks. `MINIMUM` is the oldest version that a service still answers in full; an older app is told to
upgrade (426), after its mutations were taken in (promise 11).
"""

PROTOCOL = 1
MINIMUM = 1
