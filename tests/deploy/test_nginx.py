"""The profile in deploy/nginx, run by a real nginx in front of a real service process."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.runtime.postgres import as_role, temporary_folder
from simulator.places import PASSWORD, SUPERVISOR
from simulator.throwaway import ROLES
from sync_protocol.device import Account, Device, Store, Transport
from tests.conftest import cloned
from tests.world import GRID, WORKER

PROFILE = Path(__file__).parents[2] / "deploy" / "nginx" / "gridloop.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
NAME = "localhost"


def nginx_or_skip() -> str:
    """The program; without it the tests are skipped, and where GRIDLOOP_NO_SKIPS is set (in CI)
    they fail.
    """
    if NGINX is None:
        why = "nginx is not installed; on Debian: apt-get install nginx-light"
        if os.environ.get("GRIDLOOP_NO_SKIPS"):
            pytest.fail(why)
        pytest.skip(why)
    return NGINX


class Front(NamedTuple):
    """Where nginx listens, where the service does, and whom to trust."""

    tls: int
    plain: int
    service: int
    trust: ssl.SSLContext

    def client(self) -> httpx.AsyncClient:
        """A client that comes through nginx."""
        return httpx.AsyncClient(
            base_url=f"https://{NAME}:{self.tls}", verify=self.trust, timeout=30
        )

    def connections_to_the_service(self) -> int:
        """How many connections there are to the service's port."""
        return connections(self.service)


def connections(port: int) -> int:
    return sum(
        1
        for item in psutil.net_connections("tcp4")
        if item.raddr and item.raddr.port == port and item.status == "ESTABLISHED"
    )


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certificate(folder: Path) -> None:
    """A key and a certificate for `NAME`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(1),
        now + timedelta(1),
    )
    signed = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False
    ).sign(key, hashes.SHA256())
    (folder / "fullchain.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "privkey.pem").write_bytes(key.private_bytes(*pem))


def written(folder: Path, front: Front) -> Path:
    """The profile with a test's ports, name and folder, inside of what nginx needs around it."""
    text = PROFILE.read_text(encoding="utf-8")
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{front.service}"),
        ("listen 443", f"listen 127.0.0.1:{front.tls}"),
        ("listen 80", f"listen 127.0.0.1:{front.plain}"),
        ("gridloop.example.org", NAME),
        ("/etc/gridloop/tls", str(folder)),
        ("/var/log/nginx", str(folder)),
    ):
        assert old in text, old
        text = text.replace(old, new)
    paths = "".join(
        f"    {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    (folder / "gridloop.conf").write_text(text, encoding="utf-8")
    user = "user root;\n" if os.geteuid() == 0 else ""
    main.write_text(
        f"{user}daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n{paths}    include {folder}/gridloop.conf;\n}}\n"
    )
    return main


def begun(command: list[str], log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def said(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


async def until(what: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits until something is so, 30 seconds at most, and not longer than the process lives."""
    async with asyncio.timeout(30):
        while not what():
            assert process.poll() is None, said(log)
            await asyncio.sleep(0.05)


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def started(
    command: list[str], folder: Path, port: int, **environment: str
) -> AsyncIterator[None]:
    """A process that listens at a port, ended at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")}
    log = folder / f"{Path(command[0]).name}.log"
    process = begun(command, log, clean | environment)
    try:
        await until(lambda: listens(port), process, log)
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        print(said(log))  # pytest shows it when a test fails


@pytest.fixture
async def front(server: str, template: str) -> AsyncIterator[Front]:
    """nginx with the profile in front of a service process."""
    nginx = nginx_or_skip()
    with temporary_folder("nginx") as folder:
        certificate(folder)
        front = Front(
            free_port(),
            free_port(),
            free_port(),
            ssl.create_default_context(cafile=str(folder / "fullchain.pem")),
        )
        main = written(folder, front)
        serve = [
            sys.executable,
            "-m",
            "service",
            "serve",
            "--demo",
            "--port",
            str(front.service),
            "--data",
            str(folder),
        ]
        async with cloned(server, template) as url:
            # The tests' key, which encrypted the template's personal data.
            keys = os.environ["GRIDLOOP_SECRET_KEYS"]
            given = {
                "GRIDLOOP_DATABASE_URL": as_role(url, ROLES.service),
                "GRIDLOOP_SECRET_KEYS": keys,
            }
            async with (
                started(serve, folder, front.service, **given),
                started([nginx, "-c", str(main)], folder, front.tls),
            ):
                yield front


async def token(client: httpx.AsyncClient, staff_code: str, **headers: str) -> str:
    form = {"grant_type": "password", "username": staff_code, "password": PASSWORD}
    answer = await client.post("/v1/auth/token", data=form, headers=headers)
    return str(answer.raise_for_status().json()["access_token"])


async def test_the_profile_keeps_what_it_says(front: Front, tmp_path: Path) -> None:
    """One service and one nginx for all of it, since each start takes seconds."""
    await slow_bodies_do_not_reach_the_service(front)
    async with front.client() as client:
        await a_phone_syncs_over_tls(client, tmp_path)
        await what_a_client_says_of_its_address_is_not_believed(client)
        await inner_paths_are_closed(client)
        await a_body_that_is_too_large_is_refused_in_the_language_of_the_api(client)
    await plain_http_is_redirected_and_other_names_are_refused(front)


async def slow_bodies_do_not_reach_the_service(front: Front) -> None:
    # Of the route that reads a body before it knows who sends it.
    form = "application/x-www-form-urlencoded"
    head = (
        f"POST /v1/auth/token HTTP/1.1\r\nHost: {NAME}\r\nContent-Type:"
        f" {form}\r\nContent-Length: 5000\r\n\r\n"
    )
    slow = [
        await asyncio.open_connection("127.0.0.1", front.tls, ssl=front.trust, server_hostname=NAME)
        for _ in range(20)
    ]
    before = front.connections_to_the_service()
    for _, writer in slow:
        writer.write(head.encode() + b"a" * 100)
        await writer.drain()
    async with (
        front.client() as client
    ):  # what came later is answered, so what came before has been read
        assert (await client.get("/healthz")).status_code == 200
    assert front.connections_to_the_service() - before <= 1
    for _, writer in slow:
        writer.close()


async def a_phone_syncs_over_tls(client: httpx.AsyncClient, folder: Path) -> None:
    phone = Device(
        Store(folder / "phone.sqlite3"), Transport(client), Account(WORKER, PASSWORD), max_tries=1
    )
    phone.put(
        "visit", {"visited_at": datetime.now(UTC).isoformat(), "content": "走访" * 2_000}, grid=GRID
    )
    await phone.sync()
    assert phone.store.count_unsent() == 0
    assert await phone.verify() == []
    phone.store.close()
    answer = await client.get("/healthz")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "/" not in answer.headers["Server"]


async def what_a_client_says_of_its_address_is_not_believed(client: httpx.AsyncClient) -> None:
    claimed = {
        "X-Forwarded-For": "203.0.113.7",
        "Forwarded": "for=203.0.113.7",
        "X-Real-IP": "203.0.113.7",
    }
    bearer = {"Authorization": f"Bearer {await token(client, SUPERVISOR)}"}
    assert (await client.get("/v1/households", headers=bearer | claimed)).status_code == 200
    administrator = {"Authorization": f"Bearer {await token(client, 'admin')}"}
    lines = (
        await client.get("/v1/audit", params={"staff_code": SUPERVISOR}, headers=administrator)
    ).json()["items"]
    assert {line["address"] for line in lines} == {"127.0.0.1"}


async def inner_paths_are_closed(client: httpx.AsyncClient) -> None:
    for path in (
        "/metrics",
        "/docs",
        "/docs/oauth2-redirect",
        "/redoc",
        "/openapi.json",
        "/static-offline-docs/swagger-ui.css",
        "//metrics",
    ):
        # The whole address: `//metrics` alone would be a host's name.
        address = str(client.base_url).rstrip("/") + path
        assert (await client.get(address)).status_code == 404, path


async def a_body_that_is_too_large_is_refused_in_the_language_of_the_api(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/v1/sync", content=b"x" * 2_200_000)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")
    assert answer.json()["type"] == "/problems/too-large"
    assert_bilingual(answer)
    assert_bilingual(await client.get("/metrics"))
    large = await client.get("/healthz", headers={"X-Large": "x" * 40_000})
    assert large.status_code in (400, 431)
    for own in (answer, large, await client.get("/metrics"), await client.get("/healthz")):
        assert own.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert len(own.headers.get_list("Content-Security-Policy")) == 1


def assert_bilingual(answer: httpx.Response) -> None:
    """A problem of nginx itself: its status is that of the answer, and it says in both languages
    what to do.
    """
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["detail"][:20].isascii(), body
    assert any("一" <= character <= "鿿" for character in body["detail"]), body


async def test_while_the_service_is_down_clients_are_asked_to_come_again() -> None:
    nginx = nginx_or_skip()
    with temporary_folder("nginx") as folder:
        certificate(folder)
        trust = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        front = Front(free_port(), free_port(), free_port(), trust)
        async with (
            started([nginx, "-c", str(written(folder, front))], folder, front.tls),
            front.client() as client,
        ):
            answer = await client.get("/v1/units", headers={"Accept-Language": "zh"})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert answer.headers["Retry-After"] == "5"
        assert_bilingual(answer)


async def plain_http_is_redirected_and_other_names_are_refused(front: Front) -> None:
    async with httpx.AsyncClient() as plain:
        answer = await plain.get(
            f"http://127.0.0.1:{front.plain}/week?unit=1502", headers={"Host": NAME}
        )
        program = await plain.get(
            f"http://127.0.0.1:{front.plain}/v1/units", headers={"Host": NAME}
        )
    assert (program.status_code, program.json()["type"]) == (403, "/problems/tls-needed")
    assert (answer.status_code, answer.headers["Location"]) == (
        301,
        f"https://{NAME}/week?unit=1502",
    )
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(
            "127.0.0.1", front.tls, ssl=anyone, server_hostname="other.example.org"
        )
