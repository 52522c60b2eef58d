"""The 14 points of “What must hold”, one file or two a point: `test_01_…` to `test_14_…`, and what
other sync systems failed at.

Each of these happened to somebody; the test named beside it shows that it cannot happen here.

| failure | test |
|---|---|
| a row committed late and skipped for ever by a cursor | `test_13`: a push held open;
`tests/stress/test_writers`: 16 writers |
| a cursor stored though its page failed | `sync_protocol/tests/test_device`: an answer is taken
whole or not at all |
| an upload loop that stops after one failure | `test_01`: the same device hands in the rest at its
next sync |
| a kill between storing a page and its cursor | `sync_protocol/tests/test_device`: killed between
any two statements |
| own changes that come back and revive a deleted record | `test_14`: a deletion stays deleted |
| a retry of a transaction that repeats its effects | `test_01`: a push that begins again counts
once |
| a mutation counted as done though the server refused it | `test_02`: what is held stays in the
phone's view of its work |
| a record of a grid that left the scope staying on the phone | `test_08` |
| drafts and outbox wiped by a healing re-sync | `test_12`: healing leaves the outbox alone |
| a first sync that begins again after every break | `test_13`: a first sync resumes |
| a server job that races the user on the same record | `test_03`: a decision and an edit at once |
| a wrong conflict flag when two phones' edits interleave |
`sync_protocol/tests/test_interleavings`: all short interleavings |
| an arbitrary winner that nobody can explain | `test_04`: every conflict carries its rule |
| rights withdrawn before the phone handed in its work | `test_07`: a revoked device may still push,
and only push |
"""
