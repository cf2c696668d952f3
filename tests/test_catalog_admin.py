"""The operator's upstreams and models, and the exchange rate."""

from collections.abc import Iterator

import pytest
from catalogue import empty_catalogue, upstream
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from modelbridge.catalog import admin, fx
from modelbridge.catalog.routes import load
from modelbridge.money import NANOS
from modelbridge.store.tables import Base, FxVersion, Route


@pytest.fixture
def session() -> Iterator[Session]:
    with empty_catalogue() as found:
        yield found


# Upstreams


def test_an_upstream_is_sealed_under_its_own_id(session: Session) -> None:
    row = admin.add_upstream(
        session,
        name="work",
        provider="openai",
        base_url="https://proxy.example/v1/",
        allow_private=True,
        sealed_credential=lambda upstream_id: f"sealed for {upstream_id}",
    )

    assert row.id.startswith("up_")
    assert row.credential == f"sealed for {row.id}"
    assert row.base_url == "https://proxy.example/v1"
    assert admin.list_upstreams(session) == [row]


def test_an_upstream_takes_its_providers_address_if_none_is_given(session: Session) -> None:
    upstream(session, "anthropic")

    assert admin.list_upstreams(session)[0].base_url == "https://api.anthropic.com"


@pytest.mark.parametrize(
    ("name", "provider", "complaint"),
    [
        ("Work", "openai", "^name: "),
        ("-work", "openai", "^name: "),
        ("w" * 64, "openai", "^name: "),
        ("work\n", "openai", "^name: "),
        ("", "openai", "^name: "),
        ("taken", "openai", "^name: .* exists already"),
        ("work", "closedai", "^provider: .*openai, .*anthropic"),
        ("work", "openai_compatible", "^base URL: "),
        ("work", "vllm", "^base URL: "),
    ],
)
def test_a_malformed_upstream_is_refused_by_its_field(
    session: Session, name: str, provider: str, complaint: str
) -> None:
    upstream(session, "taken", "openai")

    with pytest.raises(ValueError, match=complaint):
        upstream(session, name, provider)


def test_a_credential_is_replaced(session: Session) -> None:
    upstream(session, "openai")

    admin.set_credential(session, "openai", "sealed anew")

    assert admin.list_upstreams(session)[0].credential == "sealed anew"
    with pytest.raises(ValueError, match="none named 'nobody'"):
        admin.set_credential(session, "nobody", "sealed")


def test_an_upstream_that_a_model_needs_cannot_be_removed(session: Session) -> None:
    upstream(session, "one", "openai")
    upstream(session, "two", "openai")
    admin.add_model(session, name="only", targets=[("one", "gpt-4o")])
    admin.add_model(session, name="both", targets=[("one", "gpt-4o"), ("two", "gpt-4o")])

    with pytest.raises(ValueError, match="only target of only;"):
        admin.remove_upstream(session, "one")

    admin.remove_model(session, "only")
    admin.remove_upstream(session, "one")
    session.expire_all()
    assert [row.name for row in admin.list_upstreams(session)] == ["two"]
    assert [r.upstream.name for r in admin.list_models(session)[0].routes] == ["two"]


def test_removing_what_is_not_there_is_an_error(session: Session) -> None:
    with pytest.raises(ValueError, match="upstream: there is none named 'x'"):
        admin.remove_upstream(session, "x")
    with pytest.raises(ValueError, match="model: 'x' was not added here"):
        admin.remove_model(session, "x")


# Models


def test_adding_a_known_name_replaces_it_and_keeps_its_age(session: Session) -> None:
    upstream(session, "one", "openai")
    upstream(session, "two", "openai")
    first = admin.add_model(
        session,
        name="m",
        targets=[("one", "a"), ("two", "b")],
        prices={"input": "1", "output": "2"},
        context_window=1000,
    )
    session.flush()
    born = first.created_at

    admin.add_model(session, name="m", targets=[("two", "c")], free=True, max_output=10)
    session.expire_all()

    (row,) = admin.list_models(session)
    assert [(r.upstream.name, r.upstream_model, r.position) for r in row.routes] == [
        ("two", "c", 0)
    ]
    assert (row.prices, row.free, row.context_window, row.max_output) == (None, True, None, 10)
    assert row.created_at == born
    assert len(session.scalars(select(Route)).all()) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "two words"}, "^model: "),
        ({"name": "m" * 201}, "^model: "),
        ({"name": "tab\there"}, "^model: "),
        ({"name": ""}, "^model: "),
        ({"targets": []}, "^upstream: "),
        ({"targets": [("nobody", "m")]}, "^upstream: "),
        ({"targets": [("openai", "m"), ("openai", "m")]}, "^upstream: .* twice"),
        ({"targets": [("openai", "a b")]}, "^upstream model: "),
        ({"prices": {"input": "1"}}, "^output price"),
        ({"prices": {"input": "1", "output": "x"}}, "^output price"),
        ({"prices": {"input": "1", "output": "1"}, "free": True}, "^free: "),
        ({"context_window": 0}, "^context window: "),
        ({"max_output": -1}, "^max output: "),
        ({"max_output": True}, "^max output: "),
    ],
)
def test_a_malformed_model_is_refused_by_its_field(
    session: Session, change: dict[str, object], complaint: str
) -> None:
    upstream(session, "openai")
    values: dict[str, object] = {"name": "m", "targets": [("openai", "gpt-4o")]} | change

    with pytest.raises(ValueError, match=complaint):
        admin.add_model(session, **values)  # type: ignore[arg-type]
    assert admin.list_models(session) == []


# The exchange rate


def test_a_fresh_bridge_has_the_shipped_rate_and_says_so(session: Session) -> None:
    rate = fx.current(session)

    assert (rate.version, rate.aud_per_usd_nanos, rate.source) == (1, 1_530_000_000, "shipped")
    assert fx.ensure_fx(session) is rate
    catalog = load(session)
    assert (catalog.fx_version, catalog.aud_per_usd_nanos, catalog.fx_source) == (
        1,
        1_530_000_000,
        "shipped",
    )


def test_a_new_rate_follows_the_old_one_which_stays(session: Session) -> None:
    fx.set_rate(session, 1_600_000_000)

    assert fx.current(session).source == "operator"
    assert fx.ensure_fx(session).version == 2
    assert session.scalars(select(FxVersion.version).order_by(FxVersion.version)).all() == [1, 2]


def test_a_release_with_another_shipped_rate_replaces_a_shipped_one_only(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fx, "SHIPPED_AUD_PER_USD_NANOS", 1_400_000_000)
    assert fx.ensure_fx(session).version == 2

    fx.set_rate(session, 1_500_000_000)
    monkeypatch.setattr(fx, "SHIPPED_AUD_PER_USD_NANOS", 1_300_000_000)
    assert fx.ensure_fx(session).aud_per_usd_nanos == 1_500_000_000


@pytest.mark.parametrize("nanos", [0, -1, 1_000 * NANOS + 1])
def test_an_impossible_rate_is_refused(session: Session, nanos: int) -> None:
    with pytest.raises(ValueError, match="^exchange rate: "):
        fx.set_rate(session, nanos)


def test_the_first_rate_may_be_the_operators() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        with pytest.raises(LookupError, match="no exchange rate"):
            fx.current(session)
        assert fx.set_rate(session, NANOS).version == 1
    engine.dispose()
