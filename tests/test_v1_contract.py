"""The door of /v1 over raw HTTP: which credentials open it, what is said to those who stay out."""

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from people import Key, Person, TestBridge, serving, wait_for

from modelbridge import clock, ids
from modelbridge.store import database
from modelbridge.store.tables import ApiKey, Call, Membership, User

HELLO = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hello"}]}
CHAT, MODELS = "/v1/chat/completions", "/v1/models"
Headers = list[tuple[str, str]]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error of OpenAI's envelope, which has exactly these fields."""
        assert self.headers["content-type"] == "application/json"
        body = json.loads(self.body)
        assert body.keys() == {"error"}
        error: dict[str, Any] = body["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
        return error

    @property
    def told(self) -> tuple[int, str, str]:
        """Status, type and code."""
        return self.status, self.error["type"], self.error["code"]

    @property
    def text(self) -> str:
        """Everything that the client can read."""
        return f"{self.status} {self.headers} {self.body.decode()}"


def ask(
    bridge: TestBridge, method: str, path: str, headers: Headers, body: bytes | None = None
) -> Answer:
    """One request with exactly these headers; whatever comes back has the request's id."""
    host = bridge.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        names = {name.lower() for name, _ in headers}
        if body is not None and not {"content-length", "transfer-encoding"} & names:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
    assert answer.headers["x-request-id"].startswith("req_")
    assert len(answer.headers["x-request-id"]) == 32
    return answer


def chat(bridge: TestBridge, *credentials: tuple[str, str], path: str = CHAT) -> Answer:
    """A plain chat completion with these headers as credentials."""
    headers = [("Content-Type", "application/json"), *credentials]
    return ask(bridge, "POST", path, headers, json.dumps(HELLO).encode())


def models(bridge: TestBridge, *credentials: tuple[str, str], path: str = MODELS) -> Answer:
    return ask(bridge, "GET", path, [*credentials])


def bearer(key: Key | str, scheme: str = "Bearer") -> tuple[str, str]:
    return "Authorization", f"{scheme} {key if isinstance(key, str) else key.secret}"


def mistyped(secret: str) -> str:
    return secret[:20] + ("x" if secret[20] != "x" else "y") + secret[21:]


# Who may come in


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR "])
def test_the_schemes_name_is_case_insensitive(bridge: TestBridge, key: Key, scheme: str) -> None:
    assert models(bridge, bearer(key, scheme)).status == 200
    assert chat(bridge, bearer(key, scheme)).status == 200


def test_x_api_key_opens_the_list_of_models_and_no_more(bridge: TestBridge, key: Key) -> None:
    own = ("x-api-key", key.secret)
    assert models(bridge, own).status == 200
    assert models(bridge, own, path=f"{MODELS}/gpt-test").status == 200
    refused = chat(bridge, own)
    assert refused.told == (401, "authentication_error", "missing_api_key")
    assert "Authorization" in refused.error["message"]
    assert ask(bridge, "GET", "/v1/key", [own]).status == 401


def test_the_same_credential_twice_passes(bridge: TestBridge, key: Key) -> None:
    own = ("x-api-key", key.secret)
    assert models(bridge, bearer(key), bearer(key, "bearer")).status == 200
    assert models(bridge, bearer(key), own).status == 200
    assert models(bridge, own, own).status == 200
    assert chat(bridge, bearer(key), own).status == 200


def test_two_different_credentials_are_refused(bridge: TestBridge, alice: Person) -> None:
    one, other = alice.key(), alice.key()
    for credentials in (
        (bearer(one), bearer(other)),
        (bearer(one), ("x-api-key", other.secret)),
        (bearer(one), ("x-api-key", "something else")),
        (("x-api-key", one.secret), ("x-api-key", other.secret)),
    ):
        for answer in (models(bridge, *credentials), chat(bridge, *credentials)):
            assert answer.told == (400, "invalid_request_error", "ambiguous_credentials")
            assert one.secret not in answer.text
            assert other.secret not in answer.text


@pytest.mark.parametrize(
    "credentials",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer  ")],
        [("Authorization", "Basic YWxpY2U6c2VjcmV0")],
        [("Authorization", "KEY")],
        [("Authorization", "Token KEY")],
        [("Cookie", "mb=KEY; Authorization=KEY")],
        [("X-Authorization", "Bearer KEY")],
    ],
)
def test_no_credential_is_told_how_to_send_one(
    bridge: TestBridge, key: Key, credentials: Headers
) -> None:
    sent = [(name, value.replace("KEY", key.secret)) for name, value in credentials]
    for answer in (chat(bridge, *sent), models(bridge, *sent)):
        assert answer.told == (401, "authentication_error", "missing_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert key.secret not in answer.text


@pytest.mark.parametrize("name", ["api_key", "key", "access_token", "Authorization"])
def test_a_key_in_the_query_string_opens_nothing(bridge: TestBridge, key: Key, name: str) -> None:
    for answer in (
        chat(bridge, path=f"{CHAT}?{name}={key.secret}"),
        models(bridge, path=f"{MODELS}?{name}={key.secret}"),
    ):
        assert answer.told == (401, "authentication_error", "missing_api_key")
        assert key.secret not in answer.text


# Keys that do not open


def test_an_unknown_key_is_refused_without_an_echo(bridge: TestBridge) -> None:
    stranger = ids.new_api_key(test=False)
    for answer in (chat(bridge, bearer(stranger)), models(bridge, bearer(stranger))):
        assert answer.told == (401, "authentication_error", "invalid_api_key")
        assert stranger[8:20] not in answer.text


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abc",
        "mb_live_",
        "mb_live_short",
        "x" * 5000,
        "mb_live_" + "é" * 49,
        "MB_LIVE",
        "a b",
    ],
)
def test_what_is_no_key_at_all_is_refused_without_an_echo(bridge: TestBridge, text: str) -> None:
    sent = ("Authorization", f"Bearer {text}".encode().decode("latin-1"))
    for answer in (chat(bridge, sent), models(bridge, sent)):
        assert answer.told == (401, "authentication_error", "invalid_api_key")
        assert len(text) < 9 or text not in answer.text


@pytest.fixture
def statements(bridge: TestBridge, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every SQL statement that a worker of the HTTP server runs, on any connection."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if threading.current_thread().name.startswith("worker-"):
            seen.append(statement)

    connect = database._connect

    def connect_and_watch(path: Path, *, read_only: bool) -> Any:
        connection = connect(path, read_only=read_only)
        connection.set_trace_callback(note)
        return connection

    monkeypatch.setattr(database, "_connect", connect_and_watch)
    for connection, _ in bridge.database._readers:
        connection.set_trace_callback(note)
    bridge.database._connection.set_trace_callback(note)
    yield seen
    for connection, _ in bridge.database._readers:
        connection.set_trace_callback(None)
    bridge.database._connection.set_trace_callback(None)


def test_a_mistyped_key_is_refused_without_asking_the_database(
    bridge: TestBridge, key: Key, statements: list[str]
) -> None:
    for typo in (mistyped(key.secret), key.secret[:-1], key.secret + "0", key.secret.lower()):
        for answer in (chat(bridge, bearer(typo)), models(bridge, bearer(typo))):
            assert answer.told == (401, "authentication_error", "invalid_api_key")
            assert "checksum" in answer.error["message"]
            assert typo not in answer.text
    assert statements == []
    assert models(bridge, bearer(ids.new_api_key(test=False))).status == 401
    assert statements, "an unknown key with a right checksum is looked up"


def test_a_revoked_key_is_told_so(bridge: TestBridge, key: Key) -> None:
    key.revoke()
    for answer in (chat(bridge, bearer(key)), models(bridge, bearer(key))):
        assert answer.told == (401, "authentication_error", "api_key_revoked")
        assert key.secret not in answer.text


def test_an_expired_key_is_told_when(bridge: TestBridge, key: Key) -> None:
    with bridge.database.transaction() as session:
        session.get_one(ApiKey, key.id).expires_at = clock.now()
    for answer in (chat(bridge, bearer(key)), models(bridge, bearer(key))):
        assert answer.told == (401, "authentication_error", "api_key_expired")
        assert f"{clock.now():%Y}" in answer.error["message"]


def test_a_disabled_persons_keys_are_as_revoked(bridge: TestBridge, alice: Person) -> None:
    key = alice.key()
    with bridge.database.transaction() as session:
        session.get_one(User, alice.id).disabled_at = clock.now()
    for answer in (chat(bridge, bearer(key)), models(bridge, bearer(key))):
        assert answer.told == (401, "authentication_error", "api_key_revoked")
        assert "disabled" in answer.error["message"]


def test_who_left_the_team_has_no_key_in_it(bridge: TestBridge, alice: Person) -> None:
    team = bridge.team("acme", alice)
    key = bridge.key(account_id=team, user_id=alice.id)
    assert models(bridge, bearer(key)).status == 200
    with bridge.database.transaction() as session:
        session.query(Membership).filter_by(user_id=alice.id).delete()
    for answer in (chat(bridge, bearer(key)), models(bridge, bearer(key))):
        assert answer.told == (401, "authentication_error", "api_key_revoked")
        assert "team" in answer.error["message"]


def test_a_revocation_holds_from_the_next_call_on(bridge: TestBridge, key: Key) -> None:
    assert chat(bridge, bearer(key)).status == 200
    key.revoke()
    assert chat(bridge, bearer(key)).status == 401


# Where keys must not be found


@pytest.mark.parametrize("path", [f"{MODELS}/KEY", "/v1/KEY", f"{CHAT}/KEY"])
def test_a_key_in_a_path_is_not_told_back(bridge: TestBridge, key: Key, path: str) -> None:
    answer = models(bridge, bearer(key), path=path.replace("KEY", key.secret))
    assert answer.status == 404
    assert key.secret not in answer.text
    assert "mb_live_…" in answer.error["message"]


def test_a_key_in_the_place_of_the_model_is_neither_told_back_nor_kept(
    bridge: TestBridge, key: Key
) -> None:
    headers = [("Content-Type", "application/json"), bearer(key)]
    body = json.dumps({**HELLO, "model": key.secret}).encode()
    answer = ask(bridge, "POST", CHAT, headers, body)
    assert answer.told == (400, "invalid_request_error", "invalid_request")
    assert answer.error["param"] == "model"
    assert key.secret not in answer.text
    (row,) = wait_for(lambda: bridge.rows(Call))
    assert row.model == ""


def test_a_key_is_in_no_file_and_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with serving(tmp_path) as bridge:
        alice = bridge.person("alice")
        key, test = alice.key(), alice.key(test=True)
        secrets = (key.secret, test.secret, mistyped(key.secret))
        for secret in secrets:
            models(bridge, bearer(secret))
            models(bridge, path=f"{MODELS}?api_key={secret}")
            models(bridge, bearer(key), path=f"{MODELS}/{secret}")
            chat(bridge, bearer(secret))
            headers = [("Content-Type", "application/json"), bearer(key)]
            ask(bridge, "POST", CHAT, headers, json.dumps({**HELLO, "model": secret}).encode())
        bridge.settle_down()
        files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    files |= {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.suffix == ".db" for path in files)
    for secret in secrets:
        for path, content in files.items():
            assert secret.encode() not in content, path
        assert secret not in caplog.text
