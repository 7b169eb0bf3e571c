"""Run by alembic: migrates over the connection that `_schema_version.py` hands in."""

from alembic import context

from narrator._schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="narrator_version",
    # SQLite cannot alter columns in place; alembic then copies the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
