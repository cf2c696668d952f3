"""Who calls, behind a reverse proxy: its word counts, and nobody else's."""

from pathlib import Path

import pytest
import requests
from people import serving

from modelbridge import config
from modelbridge.config import SettingsError
from modelbridge.operations.proxies import BehindProxies


def seen(remote: str, forwarded_for: str | None = None, proto: str = "") -> tuple[str, str]:
    """The address and the scheme that the application sees."""
    found: list[tuple[str, str]] = []

    def application(environ: dict[str, str], _start: object) -> list[bytes]:
        assert "HTTP_X_FORWARDED_FOR" not in environ
        assert "HTTP_X_FORWARDED_PROTO" not in environ
        found.append((environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]))
        return []

    environ = {"REMOTE_ADDR": remote, "wsgi.url_scheme": "http"}
    if forwarded_for is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded_for
    if proto:
        environ["HTTP_X_FORWARDED_PROTO"] = proto
    BehindProxies(application, ["127.0.0.1", "10.0.0.0/8", "fd00::/8"])(environ, print)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "client"),
    [
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "203.0.113.7, ::ffff:10.1.2.3", "203.0.113.7"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7, nonsense", "127.0.0.1"),
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_client_is_the_rightmost_that_is_no_proxy(
    remote: str, forwarded_for: str | None, client: str
) -> None:
    assert seen(remote, forwarded_for)[0] == client


def test_the_scheme_is_the_proxys_word_too() -> None:
    assert seen("127.0.0.1", proto="https")[1] == "https"
    assert seen("127.0.0.1", proto="gopher")[1] == "http"
    assert seen("203.0.113.9", proto="https")[1] == "http"


def test_a_keys_addresses_are_those_of_clients_behind_the_proxy(tmp_path: Path) -> None:
    with serving(tmp_path, MODELBRIDGE_TRUSTED_PROXIES="127.0.0.1") as bridge:
        key = bridge.person("alice").key(test=True, addresses=["203.0.113.0/24"])

        def status(forwarded_for: str) -> int:
            headers = {**key.headers, "X-Forwarded-For": forwarded_for}
            answer = requests.get(f"{bridge.url}/v1/models", headers=headers, timeout=60)
            return answer.status_code

        assert status("203.0.113.7") == 200
        assert status("203.0.113.7, 198.51.100.1") == 403


def test_without_the_setting_no_forwarded_header_is_believed(tmp_path: Path) -> None:
    with serving(tmp_path) as bridge:
        key = bridge.person("alice").key(test=True, addresses=["203.0.113.0/24"])
        headers = {**key.headers, "X-Forwarded-For": "203.0.113.7"}
        answer = requests.get(f"{bridge.url}/v1/models", headers=headers, timeout=60)
        assert answer.status_code == 403
        assert "127.0.0.1" in answer.json()["error"]["message"]


def test_what_is_no_network_stops_the_start(tmp_path: Path) -> None:
    for text in ("caddy", "10.0.0.1/8", "*"):
        with pytest.raises(SettingsError, match="MODELBRIDGE_TRUSTED_PROXIES must be"):
            config.load(
                {"MODELBRIDGE_DATA_DIR": str(tmp_path), "MODELBRIDGE_TRUSTED_PROXIES": text}
            )
