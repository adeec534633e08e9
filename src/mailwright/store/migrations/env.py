"""Where Alembic starts: migrates on the connection that it was handed."""

from alembic import context

connection = context.config.attributes["connection"]
# SQLite, too, takes back the creation of tables; the connection begins by itself.
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
