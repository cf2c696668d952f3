"""Settings from the environment, read once, typed, passed in. A bad value fails at start."""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names the variable and says how to mend it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set from outside; see docs/configuration.md for each."""

    data_dir: Path
    host: str
    port: int
    threads: int
    one_core: bool
    database_url: str
    public_url: str
    secret_key: str
    master_key: str
    master_key_beside_data: bool
    old_master_key: str
    cors_origins: tuple[str, ...]
    trusted_hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    provider_credentials: Mapping[str, str]
    hold_grace_seconds: float
    drain_seconds: float
    budget_wait_seconds: float
    connect_seconds: float
    first_byte_seconds: float
    idle_seconds: float
    total_seconds: float
    max_body_bytes: int
    books_check_hours: float
    drain_notice_seconds: float
    min_free_bytes: int
    log_format: str
    metrics_token: str
    backup_dir: Path | None
    backup_hours: float
    backup_keep: int
    smtp_host: str
    smtp_port: int
    smtp_tls: str
    smtp_user: str
    smtp_password: str
    smtp_from: str

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def base_url(self) -> str:
        """What clients set as OPENAI_BASE_URL."""
        return f"{self.public_url}/v1"


LOG_FORMATS = ("text", "json")
SMTP_TLS = ("starttls", "tls", "none")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?|https?://\[[0-9A-Fa-f:]+\](:[0-9]+)?")
_PUBLIC_URL = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+")
PROVIDER_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ` (the process's own if None). Makes the data dir and missing keys.

    Raises SettingsError.
    """
    env = os.environ if environ is None else environ
    data_dir = Path(env.get("MODELBRIDGE_DATA_DIR") or "instance").resolve()
    with _in_data_dir(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    host = env.get("MODELBRIDGE_HOST") or "127.0.0.1"
    port = _integer(env, "MODELBRIDGE_PORT", 8000, 0, 65535)
    master_key, beside = _secret(env, "MODELBRIDGE_MASTER_KEY", data_dir / "master.key")
    secret_key, _ = _secret(env, "MODELBRIDGE_SECRET_KEY", data_dir / "secret.key")
    return Settings(
        data_dir=data_dir,
        host=host,
        port=port,
        threads=_integer(env, "MODELBRIDGE_THREADS", 1016, 2, 20_000),
        one_core=_switch(env, "MODELBRIDGE_ONE_CORE", default=True),
        database_url=_database_url(env, data_dir),
        public_url=_public_url(env, host, port),
        secret_key=secret_key,
        master_key=master_key,
        master_key_beside_data=beside,
        provider_credentials={
            name: env[variable]
            for name, variable in PROVIDER_VARIABLES.items()
            if env.get(variable)
        },
        hold_grace_seconds=_number(env, "MODELBRIDGE_HOLD_GRACE_SECONDS", 60),
        drain_seconds=_number(env, "MODELBRIDGE_DRAIN_SECONDS", 30),
        budget_wait_seconds=_number(env, "MODELBRIDGE_BUDGET_WAIT_SECONDS", 2),
        connect_seconds=_number(env, "MODELBRIDGE_CONNECT_SECONDS", 10),
        first_byte_seconds=_number(env, "MODELBRIDGE_FIRST_BYTE_SECONDS", 600),
        idle_seconds=_number(env, "MODELBRIDGE_IDLE_SECONDS", 120),
        total_seconds=_number(env, "MODELBRIDGE_TOTAL_SECONDS", 3600),
        max_body_bytes=_integer(env, "MODELBRIDGE_MAX_BODY_BYTES", 32 * 2**20, 1024, 2**30),
        books_check_hours=_number(env, "MODELBRIDGE_BOOKS_CHECK_HOURS", 6, "hours"),
        old_master_key=_given_secret(env, "MODELBRIDGE_OLD_MASTER_KEY"),
        cors_origins=_origins(env),
        trusted_hosts=_trusted_hosts(env, host),
        trusted_proxies=_proxies(env),
        **_operations(env),
        **_smtp(env),
    )


def _operations(env: Mapping[str, str]) -> dict[str, Any]:
    """How it is looked after: readiness, logs, metrics and backups on a schedule."""
    log_format = env.get("MODELBRIDGE_LOG_FORMAT") or "text"
    if log_format not in LOG_FORMATS:
        raise SettingsError(f"MODELBRIDGE_LOG_FORMAT must be one of {', '.join(LOG_FORMATS)}")
    backup_dir = env.get("MODELBRIDGE_BACKUP_DIR")
    return {
        "drain_notice_seconds": _number(env, "MODELBRIDGE_DRAIN_NOTICE_SECONDS", 0),
        "min_free_bytes": _integer(env, "MODELBRIDGE_MIN_FREE_BYTES", 64 * 2**20, 0, 2**50),
        "log_format": log_format,
        "metrics_token": env.get("MODELBRIDGE_METRICS_TOKEN") or "",
        "backup_dir": Path(backup_dir).resolve() if backup_dir else None,
        "backup_hours": _number(env, "MODELBRIDGE_BACKUP_HOURS", 24, "hours"),
        "backup_keep": _integer(env, "MODELBRIDGE_BACKUP_KEEP", 7, 1, 1000),
    }


def _smtp(env: Mapping[str, str]) -> dict[str, Any]:
    """How to send mail; without a host none is sent."""
    host = env.get("MODELBRIDGE_SMTP_HOST") or ""
    user = env.get("MODELBRIDGE_SMTP_USER") or ""
    sender = env.get("MODELBRIDGE_SMTP_FROM") or user
    tls = env.get("MODELBRIDGE_SMTP_TLS") or "starttls"
    if tls not in SMTP_TLS:
        raise SettingsError(f"MODELBRIDGE_SMTP_TLS must be one of {', '.join(SMTP_TLS)}")
    if host and _ADDRESS.fullmatch(sender) is None:
        raise SettingsError(
            "MODELBRIDGE_SMTP_FROM must be the address that mail is sent from, "
            "such as bridge@example.com"
        )
    return {
        "smtp_host": host,
        "smtp_port": _integer(env, "MODELBRIDGE_SMTP_PORT", 587, 1, 65535),
        "smtp_tls": tls,
        "smtp_user": user,
        "smtp_password": env.get("MODELBRIDGE_SMTP_PASSWORD") or "",
        "smtp_from": sender,
    }


def _integer(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = env.get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{name} must be a whole number, not {text!r}") from None
    if not least <= value <= most:
        raise SettingsError(f"{name} must be between {least} and {most}, not {value}")
    return value


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = (env.get(name) or ("on" if default else "off")).lower()
    if text not in ("on", "off"):
        raise SettingsError(f"{name} must be on or off, not {text!r}")
    return text == "on"


def _number(env: Mapping[str, str], name: str, default: float, unit: str = "seconds") -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number of {unit}, not {text!r}") from None
    if not 0 <= value < 10**6:
        raise SettingsError(f"{name} must be between 0 and a million {unit}, not {text}")
    return value


def _secret(env: Mapping[str, str], name: str, path: Path) -> tuple[str, bool]:
    """The value of NAME, or of the file that NAME_FILE names, or of `path`, made if absent.

    The second value tells whether it lies in the data dir.
    """
    if given := _given_secret(env, name):
        return given, False
    with _in_data_dir(path):
        return _kept_secret(path), True


@contextmanager
def _in_data_dir(path: Path) -> Iterator[None]:
    """Raises SettingsError with what to do where the operating system refuses."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"MODELBRIDGE_DATA_DIR: {path} cannot be read or made ({error.strerror}); name a "
            "folder that this user may write to, or run as the user who owns it"
        ) from None


def _given_secret(env: Mapping[str, str], name: str) -> str:
    """The value of NAME, or of the file that NAME_FILE names; empty if neither is set."""
    if env.get(name):
        return env[name]
    if not (named := env.get(f"{name}_FILE")):
        return ""
    try:
        text = Path(named).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}_FILE: {named} cannot be read: {error.strerror}") from None
    if not text:
        raise SettingsError(f"{name}_FILE: {named} is empty")
    return text


def _kept_secret(path: Path) -> str:
    """The secret in `path`; made there with mode 0600, whole or not at all, if there is none."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails if another process was first: theirs counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise SettingsError(f"{path} is empty: restore it from where you keep your secrets")
    return text


def _database_url(env: Mapping[str, str], data_dir: Path) -> str:
    url = env.get("MODELBRIDGE_DATABASE_URL") or f"sqlite:///{data_dir / 'modelbridge.db'}"
    if not url.startswith("sqlite:////"):
        raise SettingsError(
            "MODELBRIDGE_DATABASE_URL must be sqlite:/// and an absolute path; "
            "other databases are not supported yet"
        )
    return url


def _public_url(env: Mapping[str, str], host: str, port: int) -> str:
    url = (env.get("MODELBRIDGE_PUBLIC_URL") or "").rstrip("/")
    if not url:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104
        return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    if not _is_public_url(url):
        raise SettingsError(
            "MODELBRIDGE_PUBLIC_URL must be like https://bridge.example.com, without a path, "
            f"not {url!r}"
        )
    return url


def _is_public_url(url: str) -> bool:
    try:
        return _PUBLIC_URL.fullmatch(url) is not None and urlsplit(url).port != 0
    except ValueError:  # no port, or no IPv6 address
        return False


def _origins(env: Mapping[str, str]) -> tuple[str, ...]:
    """Web pages of these origins may call /v1 from a browser; "*" stands for all."""
    found = _words(env, "MODELBRIDGE_CORS_ORIGINS")
    for origin in found:
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            raise SettingsError(
                "MODELBRIDGE_CORS_ORIGINS must be * or origins separated by commas, "
                f"such as https://chat.example.com; {origin!r} is none"
            )
    return found


def _trusted_hosts(env: Mapping[str, str], host: str) -> tuple[str, ...]:
    """Names that a Host header may have; none: any may stand there.

    Without a public URL nobody knows by what name a bridge is reached that listens to more than
    its own machine.
    """
    more = _words(env, "MODELBRIDGE_TRUSTED_HOSTS")
    public = urlsplit(env.get("MODELBRIDGE_PUBLIC_URL") or "").hostname
    if public is None and not more and host not in _LOOPBACK:
        return ()
    named = [*_LOOPBACK, *([public] if public else []), *(name.strip("[]") for name in more)]
    return tuple(dict.fromkeys(name.lower() for name in named))


def _proxies(env: Mapping[str, str]) -> tuple[str, ...]:
    """Networks of reverse proxies whose word is taken for who calls."""
    found = _words(env, "MODELBRIDGE_TRUSTED_PROXIES")
    for text in found:
        try:
            ip_network(text)
        except ValueError:
            raise SettingsError(
                "MODELBRIDGE_TRUSTED_PROXIES must be addresses or networks separated by commas, "
                f"such as 127.0.0.1, 172.16.0.0/12; {text!r} is none"
            ) from None
    return found


def _words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """What stands between commas, without blanks."""
    parts = (part.strip() for part in (env.get(name) or "").split(","))
    return tuple(part for part in parts if part)
