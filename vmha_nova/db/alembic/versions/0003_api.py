"""What the API shows: the cloud as the engine sees it, capacity, the pause, notifications."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0003'
down_revision = '0002'

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), 'mysql', 'mariadb')


def upgrade():
    op.create_table('snapshot',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('instances_at', TIME, nullable=True),
        sa.Column('nodes_at', TIME, nullable=True),
        sa.Column('written_at', TIME, nullable=False),
        sa.Column('problems', sa.JSON(), nullable=False),
        sa.Column('unknown_hosts', sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint('id'))

    op.create_table('node',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('zone', sa.String(length=255), nullable=False),
        sa.Column('up', sa.Boolean(), nullable=False),
        sa.Column('enabled', sa.Boolean(), nullable=False),
        sa.Column('backend', sa.String(length=255), nullable=False),
        sa.Column('instances', sa.Integer(), nullable=False),
        sa.Column('load_share', sa.Float(), nullable=False),
        sa.Column('record', sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint('host'))
    op.create_index('ix_node_zone', 'node', ['zone'])

    op.create_table('instance',
        sa.Column('id', sa.String(length=36), nullable=False),
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('record', sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint('id'))
    op.create_index('ix_instance_host', 'instance', ['host'])

    op.create_table('server_group',
        sa.Column('id', sa.String(length=36), nullable=False),
        sa.Column('policy', sa.String(length=64), nullable=False),
        sa.Column('max_per_host', sa.Integer(), nullable=False),
        sa.Column('members', sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint('id'))

    op.create_table('capacity',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('checked_at', TIME, nullable=False),
        sa.Column('instances', sa.Integer(), nullable=False),
        sa.Column('placeable', sa.Integer(), nullable=False),
        sa.Column('unplaced', sa.Integer(), nullable=False),
        sa.Column('unprotectable', sa.Integer(), nullable=False),
        sa.Column('fits', sa.Boolean(), nullable=False),
        sa.Column('storage_fill', sa.Float(), nullable=True),
        sa.Column('protection', sa.String(length=16), nullable=False),
        sa.Column('protection_reason', TEXT, nullable=False),
        sa.Column('spares', sa.JSON(), nullable=False),
        sa.Column('problems', sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint('host'))

    op.create_table('pause',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('paused', sa.Boolean(), nullable=False),
        sa.Column('reason', TEXT, nullable=False),
        sa.Column('user', sa.String(length=255), nullable=False),
        sa.Column('at', TIME, nullable=False),
        sa.PrimaryKeyConstraint('id'))

    op.create_table('outbox',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('at', TIME, nullable=False),
        sa.Column('event_type', sa.String(length=64), nullable=False),
        sa.Column('payload', sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint('id'))

    op.create_index('ix_recovery_created_at_id', 'recovery', ['created_at', 'id'])
    op.create_index('ix_move_recovery_id_state', 'move', ['recovery_id', 'state'])

    with op.batch_alter_table('host_mark') as table:
        table.add_column(sa.Column('maintenance_until', TIME, nullable=True))
