"""By what name the bridge may be called, and which other web pages may call it."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from dashboard_world import world_in
from people import serving

from modelbridge import config
from modelbridge.config import SettingsError

CHAT = "https://chat.example.com"
EVERYWHERE = "0.0.0.0"  # noqa: S104  nothing is bound to it


def hosts(**environ: str) -> tuple[str, ...]:
    return config._trusted_hosts(environ, environ.pop("HOST", "127.0.0.1"))


LOOPBACK = ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, LOOPBACK),
        ({"HOST": EVERYWHERE}, ()),
        (
            {"HOST": EVERYWHERE, "MODELBRIDGE_PUBLIC_URL": "https://Bridge.example.com"},
            (*LOOPBACK, "bridge.example.com"),
        ),
        ({"HOST": "::", "MODELBRIDGE_TRUSTED_HOSTS": "bridge, [fd00::1]"},
         (*LOOPBACK, "bridge", "fd00::1")),
    ],
)  # fmt: skip
def test_the_names_come_from_the_public_url(
    environ: dict[str, str], names: tuple[str, ...]
) -> None:
    assert hosts(**environ) == names


@pytest.mark.parametrize(
    "text",
    [
        "bridge.example.com", "https://bridge.example.com/path", "https://u:p@bridge.example.com",
        "https://bridge.example.com:99999", "https://bridge.example.com?x", "https://[::1",
        "https://bridge.example.com#x", "https://bad host", "ftp://bridge.example.com", "https://",
        "https://[:::1]", "https://bridge.example.com\\@evil.example",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_bridge_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="MODELBRIDGE_PUBLIC_URL must be like"):
        config._public_url({"MODELBRIDGE_PUBLIC_URL": text}, "127.0.0.1", 8000)


@pytest.mark.parametrize(
    "text", ["http://my_box:8000/", "https://[fd00::1]:8443", "http://10.0.0.1"]
)
def test_an_address_of_a_bridge_may_be_of_any_kind(text: str) -> None:
    environ = {"MODELBRIDGE_PUBLIC_URL": text}
    assert config._public_url(environ, "127.0.0.1", 8000) == text.rstrip("/")
    assert urlsplit(text).hostname in hosts(**environ)


def test_pages_are_refused_under_another_name(tmp_path: Path) -> None:
    public = {"MODELBRIDGE_PUBLIC_URL": "https://bridge.example.com"}
    with serving(tmp_path, **public) as bridge:
        key = bridge.person("alice").key(test=True)

        def get(path: str, host: str) -> requests.Response:
            headers = {"Host": host, **key.headers}
            return requests.get(
                f"{bridge.url}{path}", headers=headers, timeout=60, allow_redirects=False
            )

        for host in ("bridge.example.com", "BRIDGE.example.com:443", "localhost:80", "[::1]:80"):
            assert get("/login", host).status_code == 200, host
        for host in ("evil.example.com", "bridge.example.com.evil.com", "169.254.169.254", "a/b"):
            for path in ("/login", "/", "/assets/css/app.css", "/nowhere"):
                refused = get(path, host)
                assert refused.status_code == 400, (host, path)
            assert "MODELBRIDGE_TRUSTED_HOSTS" in get("/login", host).text
            assert "evil" not in get("/login", host).text
        for path in ("/healthz", "/readyz", "/v1/models"):
            assert get(path, "10.0.0.7:8000").status_code == 200
            assert get(path, "127.0.0.1:8000").status_code == 200


def test_a_bridge_without_a_known_name_takes_any(tmp_path: Path) -> None:
    with serving(tmp_path, MODELBRIDGE_HOST=EVERYWHERE) as bridge:
        answer = requests.get(f"{bridge.url}/login", headers={"Host": "box.lan"}, timeout=60)
        assert answer.status_code == 200


# Other web pages


def preflight(url: str, origin: str, path: str = "/v1/chat/completions") -> requests.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os",
    }
    return requests.options(f"{url}{path}", headers=headers, timeout=60)


def cors(answer: requests.Response) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in answer.headers.items()
        if name.lower().startswith("access-control-")
    }


def test_listed_origins_may_call_v1_from_a_browser(tmp_path: Path) -> None:
    with serving(tmp_path, MODELBRIDGE_CORS_ORIGINS=f"{CHAT}, http://localhost:3000") as bridge:
        key = bridge.person("alice").key(test=True)
        answer = preflight(bridge.url, CHAT)
        assert answer.status_code == 200
        assert cors(answer) == {
            "access-control-allow-origin": CHAT,
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "authorization, content-type, x-stainless-os",
            "access-control-max-age": "600",
            "access-control-expose-headers": cors(answer)["access-control-expose-headers"],
        }
        assert "Origin" in answer.headers["Vary"]
        for made in (key.chat, key.stream):
            called = made("sandbox-echo", headers={"Origin": CHAT})
            assert called.status_code == 200
            assert cors(called)["access-control-allow-origin"] == CHAT
            assert "x-request-id" in cors(called)["access-control-expose-headers"]
            called.close()
        refused = requests.post(
            f"{bridge.url}/v1/chat/completions", headers={"Origin": CHAT}, timeout=60
        )
        assert refused.status_code == 401
        assert cors(refused)["access-control-allow-origin"] == CHAT
        assert "access-control-allow-credentials" not in cors(called)


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://chat.example.com"])
def test_other_origins_are_told_nothing(tmp_path: Path, origin: str) -> None:
    with serving(tmp_path, MODELBRIDGE_CORS_ORIGINS=CHAT) as bridge:
        assert cors(preflight(bridge.url, origin)) == {}
        key = bridge.person("alice").key(test=True)
        assert cors(key.chat("sandbox-echo", headers={"Origin": origin})) == {}


def test_pages_are_read_by_no_other_origin(tmp_path: Path) -> None:
    with world_in(tmp_path, MODELBRIDGE_CORS_ORIGINS="*") as world:
        for path in ("/login", "/account", "/healthz", "/assets/css/app.css"):
            with world.browser().get(path, headers={"Origin": CHAT}) as answer:
                names = [name for name, _ in answer.headers]
            assert not [name for name in names if name.startswith("Access-Control")]
        opened = world.browser().get("/v1/models", headers={"Origin": CHAT})
        assert opened.headers["Access-Control-Allow-Origin"] == "*"


def test_without_the_setting_there_is_no_cors(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        answer = world.browser().get("/v1/models", headers={"Origin": CHAT})
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert "Origin" not in answer.headers.get("Vary", "")


@pytest.mark.parametrize(
    "text", ["chat.example.com", "https://chat.example.com/", "https://*.example.com", "null"]
)
def test_what_is_no_origin_stops_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="MODELBRIDGE_CORS_ORIGINS must be"):
        config.load({"MODELBRIDGE_DATA_DIR": str(tmp_path), "MODELBRIDGE_CORS_ORIGINS": text})
