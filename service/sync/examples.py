"""Examples of the sync messages for the API docs."""

REQUEST = {
    "protocol": 1,
    "sent_at": "2026-11-24T09:00:00.123+08:00",
    "cursor": None,
    "limit": 500,
    "queued": 0,
    "mutations": [
        {
            "seq": 1,
            "kind": "visit",
            "id": "019ab0c1-7c00-7000-8000-000000000001",
            "grid": "150221100201001",
            "op": "put",
            "base": 0,
            "stamp": "019ab0c17c000000",
            "fields": {
                "visited_at": "2026-11-24T08:30:00+08:00",
                "duties": {"add": ["emergency"]},
                "content": "检查烟道和一氧化碳报警器",
            },
        }
    ],
}

ANSWER = {
    "epoch": "4b3f1a52-8c51-4a5b-9a3b-0d6f0c0a7e11",
    "server_time": "2026-11-24T01:00:00.456Z",
    "acked": 1,
    "verdicts": [{"seq": 1, "outcome": "applied", "rev": 42}],
    "changes": [
        {
            "kind": "household",
            "id": "5f0c7d84-2f0b-5a52-9d0f-7a4f0c1f2a10",
            "grid": "150221100201001",
            "rev": 7,
            "deleted": False,
            "fields": {"head_name": "苏和", "members": 3},
            "stamp": "019ab0c17c000000",
            "by": "admin",
            "created_by": "admin",
        }
    ],
    "dropped_grids": [],
    "cursor": "AAECAwQ…",
    "more": False,
    "pending": 0,
}

VERIFY = {
    "grids": [{"grid": "150221100201001", "rev": 42, "count": 31, "digest": "9d3c0f6a1b2e4d58"}]
}
