"""The reference device: an offline-first client in small, for demos, tests and simulation, and as a
model for apps.

>>> device = Device.open("phone.sqlite3", server="http://127.0.0.1:8000",
account=Account("W150221100201001-1", "…"))
>>> device.put("visit", {"visited_at": "2026-11-24T09:00:00+08:00", "content": "…"},
grid="150221100201001")
>>> await device.sync()
"""

from sync_protocol.device.device import Device, SyncReport
from sync_protocol.device.store import Held, Store, View
from sync_protocol.device.transport import Account, DeviceRevoked, Refused, Transport, Unreachable

__all__ = [
    "Account",
    "Device",
    "DeviceRevoked",
    "Held",
    "Refused",
    "Store",
    "SyncReport",
    "Transport",
    "Unreachable",
    "View",
]
