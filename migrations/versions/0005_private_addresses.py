"""Whether an upstream may be at an address of this machine or a private network."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "upstreams",
        sa.Column("allow_private", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    # Whoever set them up chose their addresses; what works goes on working.
    op.execute("UPDATE upstreams SET allow_private = 1")


def downgrade() -> None:
    op.drop_column("upstreams", "allow_private")
