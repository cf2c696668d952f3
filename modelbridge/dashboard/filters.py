"""How money and moments are written in the pages."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flask import Flask
from flask_login import current_user
from markupsafe import Markup

from modelbridge import clock
from modelbridge.dashboard.navigation import navigation
from modelbridge.dashboard.services import bridge
from modelbridge.money import format_amount

_STEPS = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (86_400, 3600, "hour"),
    (60 * 86_400, 86_400, "day"),
    (2 * 365 * 86_400, 30 * 86_400, "month"),
)
_YEAR_SECONDS = 365 * 86_400


def init_app(app: Flask) -> None:
    """Templates know `|aud`, `|ago`, `|stamp` and the rest, `base_url()` and `navigation()`."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_filter(aud)
    app.add_template_filter(usd)
    app.add_template_filter(number)
    app.add_template_filter(seconds)
    app.add_template_filter(ago)
    app.add_template_filter(moment)
    app.add_template_filter(stamp)
    app.add_template_filter(foldable)
    app.add_template_global(base_url)
    app.add_template_global(navigation)


def base_url() -> str:
    """What clients of this bridge set as OPENAI_BASE_URL."""
    return bridge().settings.base_url


def aud(nanos: int) -> str:
    """All the digits that the amount has, and at least two: "AUD 0.000031", "−AUD 1.50"."""
    sign = "\N{MINUS SIGN}" if nanos < 0 else ""
    return f"{sign}AUD\N{NO-BREAK SPACE}{format_amount(abs(nanos))}"


def usd(nanos: int) -> str:
    """Like `aud`, of an amount in nano-USD: "USD 1.25"."""
    return f"USD\N{NO-BREAK SPACE}{format_amount(nanos)}"


def number(count: int) -> str:
    """A count with separators: "1,234,567"."""
    return f"{count:,}"


def seconds(micros: int) -> str:
    """A duration that people can compare: "0.42 s"."""
    return f"{micros // 10_000 / 100:,.2f}\N{NO-BREAK SPACE}s"


def moment(at: datetime) -> str:
    """The moment in the viewer's time zone: "23 Nov 2026, 16:56 AEDT"."""
    local = at.astimezone(_viewers_zone())
    return f"{local.day} {local:%b %Y, %H:%M %Z}"


def stamp(at: datetime) -> Markup:
    """Like `moment`, as a `<time>` for narrow places: a line ends after the date or not at all."""
    date, _, time = moment(at).partition(", ")
    return Markup(
        '<time datetime="{}"><span class="text-nowrap">{},</span> '
        '<span class="text-nowrap">{}</span></time>'
    ).format(_machine_readable(at), date, time)


def ago(at: datetime) -> Markup:
    """`<time>` that reads "3 hours ago" or "in 6 days" and tells the exact moment on hover."""
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        _machine_readable(at), moment(at), distance(at, clock.now())
    )


def foldable(name: str) -> Markup:
    """A name that breaks before its @, if it has one, where it is too long for the line."""
    return Markup("<wbr>@").join(name.split("@"))


def distance(at: datetime, now: datetime) -> str:
    """How far a moment is from now, in the largest unit that fits.

    Rounded down, but for what is less than a tenth short: a link that was made just now for 72
    hours ends "in 3 days".
    """
    seconds = int((at - now).total_seconds())
    size = abs(seconds)
    if size < 10:
        return "just now"
    words = f"{size // _YEAR_SECONDS} years"
    for below, unit_seconds, unit in _STEPS:
        if size < below:
            number = (size + (unit_seconds // 10 if seconds > 0 else 0)) // unit_seconds
            words = f"{number} {unit}{'' if number == 1 else 's'}"
            break
    return f"in {words}" if seconds > 0 else f"{words} ago"


def _machine_readable(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _viewers_zone() -> ZoneInfo:
    if current_user.is_authenticated:
        return ZoneInfo(current_user.user.account.time_zone)
    return ZoneInfo("UTC")
