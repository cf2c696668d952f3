"""Sign-in in two steps, and what a key may do in a minute and from where."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Columns are added in place, never by copying the table: other tables refer to these.
COLUMNS = {
    "users": (
        ("totp_sealed", sa.String()),
        ("totp_confirmed_at", sa.BigInteger()),
        ("totp_last_step", sa.BigInteger()),
    ),
    "api_keys": (
        ("calls_per_minute", sa.BigInteger()),
        ("tokens_per_minute", sa.BigInteger()),
        ("concurrent_calls", sa.BigInteger()),
        ("allowed_addresses", sa.Text()),
    ),
}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind, nullable=True))
    op.create_table(
        "recovery_codes",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_recovery_codes")),
    )
    op.create_index(op.f("ix_recovery_codes_user_id"), "recovery_codes", ["user_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_recovery_codes_user_id"), "recovery_codes")
    op.drop_table("recovery_codes")
    for table, columns in COLUMNS.items():
        for name, _kind in reversed(columns):
            op.drop_column(table, name)
