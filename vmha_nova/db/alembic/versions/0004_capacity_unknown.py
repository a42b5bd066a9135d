"""Whether the death of a host fits may be unknown."""

from alembic import op
import sqlalchemy as sa

revision = '0004'
down_revision = '0003'


def upgrade():
    with op.batch_alter_table('capacity') as table:
        table.alter_column('fits', existing_type=sa.Boolean(), nullable=True)
