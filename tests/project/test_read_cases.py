"""Every route that reads stands in the bench, or says why not."""

from sync_protocol.periods import month, week
from tests.bench.read_cases import NOT_MEASURED, ROUTES, Facts, cases

FACTS = Facts(week("2026-W46"), month("2026-10"), "h", "p", "v", "W1", "1")


def test_every_route_that_reads_stands_in_the_bench() -> None:
    measured = {case.operation for case in cases(FACTS)}
    assert measured | NOT_MEASURED.keys() == ROUTES.keys()
    assert not measured & NOT_MEASURED.keys()


def test_the_requests_name_only_what_the_routes_take() -> None:
    for case in cases(FACTS):
        _, operation = ROUTES[case.operation]
        known = {parameter["name"] for parameter in operation.get("parameters", [])}
        needed = {
            parameter["name"]
            for parameter in operation.get("parameters", [])
            if parameter.get("required")
        }
        assert case.given.keys() <= known, case.name
        assert needed <= case.given.keys(), case.name
        assert "{" not in case.path
