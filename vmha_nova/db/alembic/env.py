"""Alembic's environment: online only, the URL comes from the Store."""

from alembic import context
import sqlalchemy as sa

from vmha_nova.db import models

engine = sa.create_engine(context.config.attributes['url'], poolclass=sa.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=models.Base.metadata,
                      render_as_batch=connection.dialect.name == 'sqlite')
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
