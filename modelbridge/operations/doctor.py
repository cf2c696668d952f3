"""A look at everything that may be wrong with an installation, each with the way to mend it."""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.catalog import fx
from modelbridge.catalog.prices import package_since, package_source
from modelbridge.config import Settings
from modelbridge.gateway import books
from modelbridge.money import format_amount
from modelbridge.operations import mail
from modelbridge.operations.alerts import settings as alerts
from modelbridge.operations.backups import copies, made_at
from modelbridge.operations.readiness import free_bytes_at
from modelbridge.store.tables import Call, Upstream, User
from modelbridge.upstream import credentials
from modelbridge.upstream.credentials import CredentialError

SOUND_SQLITE = (3, 51, 3)
LEAST_KEY_LENGTH = 24
OLD_RATE_DAYS = 35
OLD_PRICES_DAYS = 60
OLD_CHECK_DAYS = 2
MOST_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look told. `state`: good, advice or bad; the last makes the doctor's status 1."""

    state: str
    what: str
    mend: str = ""


def examine_files(settings: Settings) -> Iterator[Finding]:
    """The machine and its files, before the database is opened."""
    yield from _data_dir(settings)
    yield from _permissions(settings)
    yield _disk(settings)
    yield _sqlite()
    yield _public_url(settings)
    yield _proxy(settings)
    yield _master_key(settings)
    yield from _short_keys(settings)


def examine_data(settings: Settings, session: Session) -> Iterator[Finding]:
    """What is in the database."""
    yield _soundness(session)
    yield _clock(session)
    yield _books(session)
    yield _rate(session)
    yield _prices()
    yield from _credentials(settings, session)
    yield from _other_secrets(settings, session)
    yield _backups(settings)


def examine_mail(settings: Settings) -> Finding:
    """Whether the mail server lets us in; connects to it."""
    if not settings.smtp_host:
        return Finding("advice", "mail: none is set up", "Set MODELBRIDGE_SMTP_HOST to send mail.")
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    if trouble := mail.trouble(settings):
        return Finding(
            "bad", f"mail: {where} said {trouble}", "Check the MODELBRIDGE_SMTP_… settings."
        )
    return Finding("good", f"mail: {where} lets us in")


def examine_clock(upstream: str, told_at: datetime | None) -> Iterator[Finding]:
    """A finding if that upstream, which just answered, has another time."""
    now = clock.now()
    if told_at is not None and abs(told_at - now) > MOST_SKEW:
        yield Finding(
            "bad",
            f"clock: it says {now:%Y-%m-%d %H:%M:%S UTC}, but upstream {upstream} says "
            f"{told_at:%Y-%m-%d %H:%M:%S UTC}",
            "Set the clock; let a time service keep it.",
        )


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.database_path.parent
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "bad",
            f"data folder: {folder} cannot be written by this user",
            "Run the bridge and its commands as the user who owns the folder.",
        )
        return
    yield Finding("good", f"data folder: {folder}")
    if (kind := _file_system(folder)) in _NETWORK:
        yield Finding(
            "bad",
            f"data folder: it is on a network file system ({kind})",
            "SQLite needs a local disk: move MODELBRIDGE_DATA_DIR to one.",
        )


_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs"}


def _file_system(folder: Path) -> str:
    """The kind of file system, by the longest mount point above the folder; empty: unknown."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    above = [line.split()[1:3] for line in lines if len(line.split()) > 2]
    fitting = [(point, kind) for point, kind in above if folder.is_relative_to(point)]
    return max(fitting, key=lambda found: len(found[0]), default=("", ""))[1]


def _permissions(settings: Settings) -> Iterator[Finding]:
    """Nobody else may read the data or the keys."""
    data = settings.database_path
    paths = [data, data.with_name(f"{data.name}-wal")]
    paths += [settings.data_dir / name for name in ("master.key", "secret.key")]
    open_ones = [path for path in paths if path.exists() and path.stat().st_mode & 0o077]
    for path in open_ones:
        yield Finding("bad", f"permissions: others may read {path}", f"Run: chmod 600 {path}")
    if not open_ones:
        yield Finding("good", "permissions: only this user reads the data and the keys")


def _disk(settings: Settings) -> Finding:
    path = settings.database_path
    free_bytes = free_bytes_at(path.parent)
    size = path.stat().st_size if path.exists() else 0
    shown = f"disk: {free_bytes // 2**20} MiB free, the database has {size // 2**20} MiB"
    if free_bytes < settings.min_free_bytes:
        return Finding("bad", shown, "Make room: /readyz says 503 and calls may fail.")
    if free_bytes < 3 * size:
        return Finding("advice", shown, "An upgrade needs three times the database's size.")
    return Finding("good", shown)


def _sqlite() -> Finding:
    found = sqlite3.sqlite_version_info
    shown = f"SQLite {sqlite3.sqlite_version}"
    if found >= SOUND_SQLITE:
        return Finding("good", shown)
    return Finding(
        "advice",
        f"{shown}: before 3.51.3 two programs that write to one file can damage it",
        "Write to the database with the bridge and its `flask` commands only: they take turns. "
        "A newer Python or operating system brings a newer SQLite.",
    )


def _public_url(settings: Settings) -> Finding:
    parts = urlsplit(settings.public_url)
    if _is_loopback(parts.hostname or ""):
        if _is_loopback(settings.host) or parts.scheme == "https":  # a proxy's, on this machine
            return Finding("good", f"address: {settings.public_url}, for this machine only")
        return Finding(
            "bad",
            f"address: it listens on {settings.host}, but its links name {settings.public_url}",
            "Set MODELBRIDGE_PUBLIC_URL to what people type.",
        )
    if parts.scheme != "https":
        return Finding(
            "bad",
            f"address: {settings.public_url} is not https: keys and passwords travel readable",
            "Put a proxy with TLS in front (docs/deployment.md) and set MODELBRIDGE_PUBLIC_URL.",
        )
    return Finding("good", f"address: {settings.public_url}")


def _proxy(settings: Settings) -> Finding:
    """The bridge speaks no TLS itself, so behind an https address there is a proxy in front."""
    if settings.trusted_proxies:
        shown = ", ".join(settings.trusted_proxies)
        return Finding("good", f"proxy: {shown} is believed about who calls")
    if not settings.public_url.startswith("https://"):
        return Finding("good", "proxy: none is believed about who calls")
    return Finding(
        "bad",
        "proxy: every client seems to call from the proxy, so one who guesses passwords slows "
        "everybody's login down, and keys cannot be tied to addresses",
        "Set MODELBRIDGE_TRUSTED_PROXIES to the proxy's address, such as 127.0.0.1, and have it "
        "send X-Forwarded-For.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _master_key(settings: Settings) -> Finding:
    if settings.master_key_beside_data:
        return Finding(
            "advice",
            "master key: it lies beside the data that it protects",
            "Keep it elsewhere, and name the file with MODELBRIDGE_MASTER_KEY_FILE.",
        )
    return Finding("good", "master key: kept apart from the data")


def _short_keys(settings: Settings) -> Iterator[Finding]:
    """Keys that were given and that somebody with a copy of the data could find by trying."""
    after = {
        "master": "Then seal everything anew with it: docs/security.md, Changing the master key.",
        "secret": "Everybody has to log in anew then.",
    }
    for name, key in (("master", settings.master_key), ("secret", settings.secret_key)):
        if len(key) < LEAST_KEY_LENGTH:
            yield Finding(
                "bad",
                f"{name} key: it has {len(key)} characters, few enough to be guessed",
                f"Make a long random one: `openssl rand -hex 32`. {after[name]}",
            )


def _soundness(session: Session) -> Finding:
    """Reads the whole file: some seconds for a gigabyte."""
    said = [row[0] for row in session.execute(text("PRAGMA quick_check(3)"))]
    if said == ["ok"]:
        return Finding("good", "database: its file is sound")
    return Finding(
        "bad",
        f"database: its file is damaged: {'; '.join(said)}",
        "Stop the bridge, and restore a backup with `flask restore`. Then look at the disk.",
    )


def _clock(session: Session) -> Finding:
    newest = session.scalar(select(func.max(Call.started_at)))
    now = clock.now()
    if newest is not None and newest > now + timedelta(minutes=1):
        return Finding(
            "bad",
            f"clock: it says {now:%Y-%m-%d %H:%M UTC}, but the newest call is of "
            f"{newest:%Y-%m-%d %H:%M UTC}",
            "Set the clock; let a time service keep it.",
        )
    return Finding("good", f"clock: {now:%Y-%m-%d %H:%M:%S UTC}")


def _books(session: Session) -> Finding:
    last = books.latest(session)
    if not last:
        return Finding("advice", "books: never checked", "Run `flask books check`.")
    shown = f"{last[0].at:%Y-%m-%d %H:%M UTC}"
    if not last[0].ok:
        return Finding("bad", f"books: at {shown} they did not add up", "`flask books check`.")
    if last[0].at < clock.now() - timedelta(days=OLD_CHECK_DAYS):
        return Finding("advice", f"books: last checked {shown}", "Run `flask books check` daily.")
    return Finding("good", f"books: they added up at {shown}")


def _rate(session: Session) -> Finding:
    rate = fx.current(session)
    shown = f"exchange rate: {format_amount(rate.aud_per_usd_nanos)} AUD per USD"
    if rate.source == fx.SHIPPED:
        return Finding(
            "advice", f"{shown}, which came with the release", "Set yours with `flask fx set`."
        )
    days = (clock.now() - rate.created_at).days
    if days > OLD_RATE_DAYS:
        return Finding("advice", f"{shown}, {days} days old", "Set it anew with `flask fx set`.")
    return Finding("good", f"{shown}, {days} days old")


def _prices() -> Finding:
    """The package tells no date; it is at least as old as its files here."""
    days = (clock.now() - package_since()).days
    shown = f"prices: {package_source()}, here for {days} days"
    if days > OLD_PRICES_DAYS:
        return Finding(
            "advice", shown, "Newer ones come with newer releases; `flask model add` sets your own."
        )
    return Finding("good", shown)


def _credentials(settings: Settings, session: Session) -> Iterator[Finding]:
    upstreams = list(session.scalars(select(Upstream).order_by(Upstream.name)))
    if not upstreams:
        yield Finding(
            "advice", "upstreams: there is none", "Add one: `flask upstream add`, or the page."
        )
    for row in upstreams:
        try:
            if row.credential:
                credentials.unseal(
                    settings.master_key, row.id, row.credential, old_key=settings.old_master_key
                )
        except CredentialError as error:
            yield Finding(
                "bad",
                f"upstream {row.name}: {error}",
                f"Start with the right master key, or run `flask upstream set-key {row.name}`.",
            )
        else:
            yield Finding("good", f"upstream {row.name}: its credential can be read")


def _other_secrets(settings: Settings, session: Session) -> Iterator[Finding]:
    """Whether people's second steps and the webhook's secret open; nothing, if they do."""
    rows = list(session.scalars(select(User).where(User.totp_sealed.is_not(None))))
    sealed = [(row.id, row.totp_sealed or "") for row in rows]
    shut = [one for one in sealed if not _opens(settings, *one, credentials.SECOND_STEP)]
    if shut:
        yield Finding(
            "bad",
            f"second steps: {len(shut)} of {len(sealed)} cannot be checked, so those people "
            "cannot log in",
            "Start with the right master key, or turn theirs off: `flask user reset "
            "--second-step EMAIL`.",
        )
    secret = alerts.load(session).webhook_secret
    if secret and not _opens(settings, alerts.NAME, secret, alerts.SEALED_COLUMN):
        yield Finding(
            "bad",
            "webhook: its secret cannot be read, so alerts are not sent to it",
            "Start with the right master key, or enter it again: `flask alerts set "
            "--webhook-secret-stdin`.",
        )


def _opens(settings: Settings, row_id: str, sealed: str, column: str) -> bool:
    try:
        keys = settings.master_key, settings.old_master_key
        credentials.unseal(keys[0], row_id, sealed, column=column, old_key=keys[1])
    except CredentialError:
        return False
    return True


def _backups(settings: Settings) -> Finding:
    folder = settings.backup_dir
    if folder is None:
        return Finding(
            "advice",
            "backups: none on a schedule",
            "Set MODELBRIDGE_BACKUP_DIR, or run `flask backup` daily and keep it elsewhere.",
        )
    made = [made_at(path) for path in copies(folder)] if folder.is_dir() else []
    late = timedelta(hours=2 * settings.backup_hours + 1)
    if not made or made[-1] < clock.now() - late:
        newest = f"the newest is of {made[-1]:%Y-%m-%d %H:%M UTC}" if made else "there is none"
        return Finding(
            "bad", f"backups: {newest} in {folder}", "Is the bridge running? Its log says more."
        )
    newest = f"{made[-1]:%Y-%m-%d %H:%M UTC}"
    return Finding("good", f"backups: {len(made)} in {folder}, the newest of {newest}")
