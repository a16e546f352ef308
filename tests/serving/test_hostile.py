"""Input from strangers: each gets a 4xx of the API's own form, and nothing of it reaches a log or holds a turn."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving import listener
from reasoner.serving.config import ServerLimits
from tests.serving.running import Server, serving
from tests.waiting import PATIENCE

KEY = "alice-0123456789"
MESSAGES = [{"role": "user", "content": "What is 3 + 4?"}]


@pytest.fixture(
    scope="module", params=dict.fromkeys([listener.CONNECTION, listener.Connection])
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with each parser of requests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "CONNECTION", request.param)
        with serving(SimulatedEngine(), ServerLimits(body_bytes=10_000)) as running:
            yield running
            assert running.reports == []


def error_of(response: httpx.Response) -> dict[str, object]:
    """The error object of a response, which must have nothing else."""
    document = response.json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    error: dict[str, object] = document["error"]
    assert error["message"]
    assert "Traceback" not in response.text
    assert "\n" not in str(error["message"])
    return error


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json; charset=utf-8", 400),
        (b"[" * 5000, "application/json", 400),
        (
            b'{"model": "\\ud800", "messages": [{"role": "user", "content": "\\udfff"}]}',
            "application/json",
            400,
        ),
        (b"x" * 20_000, "application/json", 413),
        (b"x" * 200_000, "application/json", 413),
        # A browser sends these to another origin without a question beforehand, which no route here answers.
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
    ],
    ids=range(7),
)
def test_a_body_that_cannot_be_read(
    server: Server, body: bytes, kind: str, status: int
) -> None:
    try:
        response = httpx.post(
            f"{server.base_url}/responses",
            content=body,
            headers={"Content-Type": kind},
        )
    except (httpx.WriteError, httpx.ReadError):
        # A body of twenty times the limit is not read to its end.
        assert len(body) > 4 * 10_000
        return
    assert response.status_code == status
    error_of(response)


def exchanged(server: Server, sent: bytes, *, half_close: bool = False) -> bytes:
    """All that comes back on a connection of its own, until the server closes it."""
    with socket.create_connection(
        ("127.0.0.1", server.port), timeout=PATIENCE
    ) as connection:
        got = bytearray()
        try:
            connection.sendall(sent)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                got += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        return bytes(got)


def head(path: str, *headers: str, kind: str = "application/json") -> bytes:
    lines = [
        f"POST /v1/{path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_huge_body_that_is_only_announced_is_refused_at_once(server: Server) -> None:
    for headers in (
        ["Content-Length: 99999999999"],
        ["Content-Length: 20000", "Expect: 100-continue"],
    ):
        got = exchanged(server, head("chat/completions", *headers))
        assert got.startswith(b"HTTP/1.1 413 ")
        assert b"at most 10,000 bytes are allowed" in got


def test_a_slow_body_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": "simulated", "messages": MESSAGES}
    trace = httpx.post(f"{server.base_url}/chat/completions", json=asked).json()[
        "reasoner"
    ]["trace"]
    form = "application/x-www-form-urlencoded"
    monkeypatch.setattr(
        server.service,
        "limits",
        server.service.limits.model_copy(update={"body_seconds": 0.2}),
    )
    for path, kind in (
        ("chat/completions", "application/json"),
        (f"reasoner/traces/{trace}", form),
    ):
        got = exchanged(
            server, head(path, "Content-Length: 100", kind=kind) + b'{"model"'
        )
        assert got.startswith(b"HTTP/1.1 408 ")
        assert b"the body did not arrive within 0.2 s" in got
    # The body is not read where there is no trace.
    assert exchanged(
        server, head("reasoner/traces/x", "Content-Length: 9", "Connection: close")
    ).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health HT"], ids=["silent", "half a head"]
)
def test_a_slow_head_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(SimulatedEngine()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(listener, "HEADER_SECONDS", 0.05)
            assert exchanged(server, sent) == b""
        with httpx.Client(base_url=server.url) as client:
            for _ in range(3):
                assert client.get("/health").status_code == 200


CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n"
        + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60) for n in range(30_000))
        + b"\r\n",
        b"GET /" + b"x" * 2_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000_000,
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        CHUNKED + b"1;" + b"x" * 2_000_000,
        CHUNKED
        + b"1\r\n{\r\n0\r\n"
        + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60) for n in range(30_000)),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=[
        "headers",
        "path",
        "header",
        "no host",
        "two hosts",
        "extension",
        "trailers",
        "TLS",
        "nonsense",
        "length",
        "smuggling",
    ],
)
def test_what_is_not_http_is_refused(server: Server, sent: bytes) -> None:
    got = exchanged(server, sent)
    # A client that is still sending may not get to read why.
    assert got.startswith(b"HTTP/1.1 4") or (len(sent) > 1_000_000 and not got)


@pytest.mark.parametrize("size", [70_000])
@pytest.mark.parametrize(
    "headers", [0, 1, 100], ids=["in the query", "in one header", "in many headers"]
)
def test_a_large_head_is_refused_although_it_arrives_at_once(
    server: Server, size: int, headers: int
) -> None:
    # What a parser refuses itself is a 400.
    for length, statuses in ((size, {400, 431}), (60_000, {200})):
        filler = "y" * (length // max(headers, 1))
        target = "/health" if headers else f"/health?x={filler}"
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            *[f"X: {filler}"] * headers,
        ]
        got = exchanged(server, "\r\n".join([*lines, "", ""]).encode())
        assert int(got.split()[1]) in statuses


def test_a_client_that_offers_another_protocol_is_answered(server: Server) -> None:
    offer = [
        "Connection: Upgrade, HTTP2-Settings",
        "UPGRADE: h2c",
        "HTTP2-Settings: AAMAAABk",
    ]
    body = json.dumps({"model": "simulated", "messages": MESSAGES}).encode()
    asked = head("chat/completions", *offer, f"Content-Length: {len(body)}") + body
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchanged(server, asked + asked + last).count(b"HTTP/1.1 200 ") == 3


def test_a_client_that_closes_its_half_is_gone(server: Server) -> None:
    exchanged(
        server,
        head("chat/completions", "Content-Length: 100") + b'{"model"',
        half_close=True,
    )
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert server.service.turns.running == 0


def test_routes_and_methods_that_there_are_not(server: Server) -> None:
    for method, path, status in (
        ("GET", "/v1", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/responses", 405),
        ("OPTIONS", "/v1/models", 405),
    ):
        response = httpx.request(method, server.url + path)
        assert response.status_code == status
        assert (status == 405) == ("Allow" in response.headers)
        error_of(response)


def test_a_fault_of_ours_is_reported_once_and_not_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("secret")

    body = {"model": "simulated", "messages": MESSAGES}
    with serving(SimulatedEngine()) as running:
        for name in ("choose", "App._entry"):
            monkeypatch.setattr(f"reasoner.serving.app.{name}", fault)
        asked = (
            httpx.post(f"{running.base_url}/chat/completions", json=body),
            httpx.get(f"{running.base_url}/models"),
        )
        monkeypatch.undo()
        monkeypatch.setattr("reasoner.serving.chat.ChatReply.end", fault)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(
                f"{running.base_url}/chat/completions", json={**body, "stream": True}
            )
        assert [type(report) for report in running.reports] == [ZeroDivisionError] * 3
    for response in asked:
        assert response.status_code == 500
        assert "secret" not in response.text
        assert error_of(response)["code"] == "internal_error"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
def test_a_server_without_keys_has_no_other_name(
    server: Server, host: str, status: int
) -> None:
    response = httpx.get(f"{server.base_url}/models", headers={"Host": host})
    assert response.status_code == status


def test_keys_and_what_was_sent_are_in_no_reply_and_not_on_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with serving(SimulatedEngine(), keys={"alice": KEY}) as server:
        seen = []
        known = {"Authorization": f"Bearer {KEY}"}
        assert (
            httpx.get(
                f"{server.base_url}/models",
                headers={"Host": "reasoner.example", **known},
            ).status_code
            == 200
        )
        for headers in ({}, {"Authorization": "Bearer wrong-key-0123"}, known):
            for method, path in (
                ("GET", "/"),
                ("GET", "/metrics"),
                ("GET", f"/v1/models/{KEY[:3]}"),
                ("PUT", "/v1/x"),
            ):
                response = httpx.request(method, server.url + path, headers=headers)
                seen.append(response.text + str(response.headers))
        exchanged(server, b"nonsense\r\n\r\n")
        httpx.post(
            f"{server.base_url}/chat/completions",
            content=b"{",
            headers={"Content-Type": "application/json"},
        )
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert KEY not in "".join(seen)
    assert "wrong-key-0123" not in "".join(seen)
