"""Alembic's environment: runs on the connection that it is given, inside its transaction."""

from alembic import context

from modelbridge.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
