"""The protocol's version numbers.

`PROTOCOL` is what this package speaks. `MINIMUM` is the oldest version that a service still answers
in full; an older app is told to upgrade (426), after its mutations were taken in (promise 11). A
newer one than `PROTOCOL` is refused: what it means by its messages is not known here.
"""

PROTOCOL = 1
MINIMUM = 1
SPEAKS = tuple(range(MINIMUM, PROTOCOL + 1))
