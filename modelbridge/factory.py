"""The one place that knows every package: makes the app, and what works behind it."""

import atexit
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, Response, current_app, request
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.routing import MapAdapter

from modelbridge import cli, config, dashboard, ids, v1
from modelbridge.catalog import fx
from modelbridge.catalog.routes import CatalogCache
from modelbridge.config import Settings
from modelbridge.dashboard.errors import is_api_path, render_error
from modelbridge.gateway import recovery
from modelbridge.gateway.auditor import Auditor
from modelbridge.gateway.books import BooksClock
from modelbridge.gateway.flights import Flights
from modelbridge.gateway.services import Gateway
from modelbridge.gateway.slots import Slots
from modelbridge.identity.callers import dead_keys
from modelbridge.operations import upgrade
from modelbridge.operations.alerts.clock import AlertClock
from modelbridge.operations.backups import BackupClock
from modelbridge.operations.metrics import Metrics
from modelbridge.operations.proxies import BehindProxies
from modelbridge.operations.readiness import Readiness
from modelbridge.store import migrate
from modelbridge.store.database import Database, usable
from modelbridge.upstream import credentials
from modelbridge.upstream.client import UpstreamClient
from modelbridge.upstream.health import Health
from modelbridge.v1 import health
from modelbridge.v1.errors import http_error_response
from modelbridge.wire.target import Target


class Bridge:
    """What works behind the app. A command opens the database alone; a server starts the rest.

    `spare_cores`: those that the server leaves to what is on no call's way.
    """

    spare_cores: frozenset[int] = frozenset()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.boot_id = ids.new_id("boot")

    @cached_property
    def database(self) -> Database:
        """The database, migrated. A command keeps the lock file until it ends."""
        with usable(self.settings.database_path):
            database = Database(self.settings.database_path)
        database.lock.acquire(blocking=True)
        atexit.register(self.close)
        try:
            with usable(database.path):
                self._prepare(database)
        except BaseException:
            database.close()
            database.lock.release()
            raise
        return database

    @cached_property
    def catalog(self) -> CatalogCache:
        """What can be called, and what it costs."""
        return CatalogCache(self.database.reading)

    @cached_property
    def gateway(self) -> Gateway:
        """What calls need; `start` makes its threads run."""
        return Gateway(
            settings=self.settings,
            database=self.database,
            catalog=self.catalog,
            upstreams=UpstreamClient(self.settings, self._credential_of),
            health=Health(),
            boot_id=self.boot_id,
            flights=Flights(self._dead_keys),
            slots=Slots(self.settings.threads),
        )

    @cached_property
    def readiness(self) -> Readiness:
        """Whether calls may be sent here."""
        return Readiness(self.gateway)

    @cached_property
    def metrics(self) -> Metrics:
        """What /metrics tells."""
        return Metrics(self.gateway)

    @cached_property
    def alerts(self) -> AlertClock:
        """What tells the people who run the bridge; `start` makes its thread run."""
        return AlertClock(self.gateway, self.backups)

    @cached_property
    def backups(self) -> BackupClock:
        """Backups on a schedule; `start` makes its thread run."""
        return BackupClock(self.settings)

    @cached_property
    def auditor(self) -> Auditor:
        """What has the books audited beside the calls."""
        return Auditor(self.spare_cores)

    @cached_property
    def _sweeper(self) -> recovery.Sweeper:
        return recovery.Sweeper(self.gateway)

    @cached_property
    def books_clock(self) -> BooksClock:
        """Checks of the books; `start` makes those happen that nobody asks for."""
        return BooksClock(self.database, self.settings.books_check_hours, self.auditor)

    def start(self) -> None:
        """Serve calls from now on: what an earlier process left behind is taken care of first."""
        self.database.start_writer()
        self.database.lock.release()
        recovery.recover(self.gateway)
        self.gateway.flights.start()
        self._sweeper.start()
        self.books_clock.start()
        self.backups.start()
        self.alerts.start()

    def close(self) -> None:
        """Everything is committed and closed; idempotent."""
        if "database" not in self.__dict__:
            return
        if "gateway" in self.__dict__:
            self.alerts.stop()
            self.backups.stop()
            self.books_clock.stop()
            self._sweeper.stop()
            self.gateway.flights.stop()
            self.gateway.upstreams.close()
            self.gateway.pump.stop()
        self.database.close()
        self.database.lock.release()
        for name in [name for name in self.__dict__ if name not in ("settings", "boot_id")]:
            self.__dict__.pop(name)
        with suppress(ValueError):
            atexit.unregister(self.close)

    def _prepare(self, database: Database) -> None:
        migrate.upgrade(
            database.engine,
            snapshot=partial(upgrade.snapshot, database.path),
            verify=upgrade.problems,
        )
        with database.transaction() as session:
            fx.ensure_fx(session)

    def _credential_of(self, target: Target) -> str | None:
        if not target.credential:
            return None
        keys = self.settings.master_key, self.settings.old_master_key
        return _unseal(*keys, target.upstream_id, target.credential)

    def _dead_keys(self, key_ids: Iterable[str]) -> set[str]:
        with self.database.cursor() as cursor:
            return dead_keys(cursor, key_ids)


@lru_cache(maxsize=256)
def _unseal(master_key: str, old_key: str, upstream_id: str, sealed: str) -> str:
    return credentials.unseal(master_key, upstream_id, sealed, old_key=old_key)


class _App(Flask):
    """Flask without what no request here needs, and calls least (docs/decisions/0010-flask.md)."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is: no view and no hook is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Nothing under /v1 builds an address, so it need not be known what ours is."""
        if request is None or not is_api_path(request.path):
            return super().create_url_adapter(request)
        return MapAdapter(self.url_map, "", "/", "", "http", request.path, request.method)

    def full_dispatch_request(self) -> Response:
        """Hooks and signals are for pages; a key is asked for by the view itself."""
        if request.blueprint != v1.NAME:
            return super().full_dispatch_request()
        try:
            response = self.make_response(self.dispatch_request())
        except Exception as error:
            response = self.make_response(self.handle_user_exception(error))
        return v1.finish(response)

    def do_teardown_request(self, *error: Any) -> None:
        """Mostly nothing is to be torn down."""
        if self.teardown_request_funcs:
            super().do_teardown_request(*error)

    def do_teardown_appcontext(self, *error: Any) -> None:
        """Mostly nothing is to be torn down."""
        if self.teardown_appcontext_funcs:
            super().do_teardown_appcontext(*error)


def create_app(settings: Settings | None = None) -> Flask:
    """The app; nothing is opened until it is needed. Raises SettingsError."""
    settings = settings or config.load()
    app = _App("modelbridge", static_folder=None, static_url_path="")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
    )
    app.extensions["modelbridge"] = Bridge(settings)
    app.before_request(_refuse_other_names)
    dashboard.init_app(app)
    dashboard.csrf.exempt(v1.init_app(app))
    app.register_blueprint(health.blueprint)
    cli.init_app(app)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.after_request(_finish_api_answers)
    if settings.trusted_proxies:
        app.wsgi_app = BehindProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    # A redirect from //x to /x would name the scheme behind the proxy, and take the key there.
    app.url_map.merge_slashes = False
    return app


def _refuse_other_names() -> None:
    """A name that is none of ours is a mistake, or a page that makes a browser call us by its own.

    Health checks come by address; /v1 asks for a key, looks at no cookie and repeats no name.
    """
    trusted = current_app.extensions["modelbridge"].settings.trusted_hosts
    is_health = request.blueprint == health.blueprint.name
    if not trusted or is_health or is_api_path(request.path):
        return
    if urlsplit(f"//{request.host}").hostname not in trusted:
        raise BadRequest(
            "This bridge is not known by the name in the address that you used. Use its public "
            "address; whoever runs it sets MODELBRIDGE_PUBLIC_URL, and MODELBRIDGE_TRUSTED_HOSTS "
            "for further names."
        )


def _finish_api_answers(response: Response) -> Response:
    return v1.finish(response) if is_api_path(request.path) else response


def _answer_http_error(error: HTTPException) -> Response:
    return http_error_response(error) if is_api_path(request.path) else render_error(error)
