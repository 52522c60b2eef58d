"""What a connection may take, in time and number."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What a connection may take.

    `head_s`: until the head of a request is there; `head_bytes`: of a head, and of what frames a
    body (sizes and extensions of chunks, trailers) between two pieces of it; `headers`: of a head.
    `grace_s`: beyond what the reader of a body allows, whose answer is better than none.
    `answer_s`: until an answer has left, besides the time at `answer_rate` bytes a second.
    `linger_s`: for which what a refused client still sends is passed over. `pipelined`: requests
    that wait behind one. `connections`: how many there may be.
    """

    head_s: float = 20.0
    head_bytes: int = 32 * 1024
    headers: int = 100
    grace_s: float = 5.0
    answer_s: float = 60.0
    answer_rate: float = 1024.0
    linger_s: float = 2.0
    pipelined: int = 32
    connections: int = 10_000
