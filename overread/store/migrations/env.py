"""What Alembic runs: the steps, on the connection that the store hands over and within its transaction."""

from alembic import context

from overread.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
