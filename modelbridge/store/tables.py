"""Every table, in one place to import from. The files of `store/schema` say what is in them."""

from modelbridge.store.schema.base import OPEN_STATES, Base, is_open, table
from modelbridge.store.schema.journal import (
    Attempt,
    Call,
    DailyUsage,
)
from modelbridge.store.schema.money import (
    Account,
    BalanceTransaction,
    BooksCheck,
    Hold,
    IdempotencyKey,
    Shortfall,
    Spending,
)
from modelbridge.store.schema.offers import (
    CatalogState,
    FxVersion,
    Milestone,
    Model,
    PriceVersion,
    Route,
    Upstream,
)
from modelbridge.store.schema.operations import Alert
from modelbridge.store.schema.people import (
    ApiKey,
    AuditEvent,
    Feedback,
    Invitation,
    LoginSession,
    Membership,
    OneTimeLink,
    RecoveryCode,
    RetiredSecret,
    Setting,
    Team,
    User,
)

__all__ = [
    "OPEN_STATES",
    "Account",
    "Alert",
    "ApiKey",
    "Attempt",
    "AuditEvent",
    "BalanceTransaction",
    "Base",
    "BooksCheck",
    "Call",
    "CatalogState",
    "DailyUsage",
    "Feedback",
    "FxVersion",
    "Hold",
    "IdempotencyKey",
    "Invitation",
    "LoginSession",
    "Membership",
    "Milestone",
    "Model",
    "OneTimeLink",
    "PriceVersion",
    "RecoveryCode",
    "RetiredSecret",
    "Route",
    "Setting",
    "Shortfall",
    "Spending",
    "Team",
    "Upstream",
    "User",
    "is_open",
    "table",
]
