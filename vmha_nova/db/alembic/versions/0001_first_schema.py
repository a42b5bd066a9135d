"""The first schema."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0001'
down_revision = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), 'mysql', 'mariadb')


def upgrade():
    op.create_table('event',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('at', TIME, nullable=False),
        sa.Column('last_at', TIME, nullable=False),
        sa.Column('level', sa.String(length=8), nullable=False),
        sa.Column('kind', sa.String(length=32), nullable=False),
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('recovery_id', sa.String(length=36), nullable=True),
        sa.Column('text', TEXT, nullable=False),
        sa.Column('repeats', sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint('id'))
    op.create_index('ix_event_kind', 'event', ['kind'])
    op.create_index('ix_event_recovery_id', 'event', ['recovery_id'])

    op.create_table('host_failure',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('source', sa.String(length=255), nullable=False),
        sa.Column('reason', TEXT, nullable=False),
        sa.Column('detected_at', TIME, nullable=True),
        sa.Column('received_at', TIME, nullable=False),
        sa.Column('evidence', sa.JSON(), nullable=False),
        sa.Column('forced', sa.Boolean(), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('detail', TEXT, nullable=False),
        sa.Column('repeats', sa.Integer(), nullable=False),
        sa.Column('recovery_id', sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint('id'))
    op.create_index('ix_host_failure_host', 'host_failure', ['host'])
    op.create_index('ix_host_failure_state', 'host_failure', ['state'])

    op.create_table('host_mark',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('spare', sa.Boolean(), nullable=False),
        sa.Column('pool', sa.String(length=255), nullable=False),
        sa.Column('maintenance', sa.Boolean(), nullable=False),
        sa.Column('parked', sa.Boolean(), nullable=False),
        sa.Column('updated_at', TIME, nullable=True),
        sa.PrimaryKeyConstraint('host'))
    op.create_table('node_load',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('cpu_share', sa.Float(), nullable=False),
        sa.Column('cpu_share_at', TIME, nullable=False),
        sa.PrimaryKeyConstraint('host'))
    op.create_table('leader',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('term', sa.Integer(), nullable=False),
        sa.Column('holder', sa.String(length=255), nullable=False),
        sa.Column('renewed_at', TIME, nullable=True),
        sa.PrimaryKeyConstraint('id'))
    op.create_table('recovery',
        sa.Column('id', sa.String(length=36), nullable=False),
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('resume', sa.String(length=16), nullable=False),
        sa.Column('reason', TEXT, nullable=False),
        sa.Column('wish', sa.String(length=16), nullable=False),
        sa.Column('approved', sa.Boolean(), nullable=False),
        sa.Column('reported_at', TIME, nullable=False),
        sa.Column('created_at', TIME, nullable=False),
        sa.Column('updated_at', TIME, nullable=False),
        sa.Column('ended_at', TIME, nullable=True),
        sa.Column('released_at', TIME, nullable=True),
        sa.PrimaryKeyConstraint('id'))
    op.create_index('ix_recovery_host', 'recovery', ['host'])
    op.create_index('ix_recovery_state', 'recovery', ['state'])

    op.create_table('step',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('recovery_id', sa.String(length=36), nullable=True),
        sa.Column('kind', sa.String(length=32), nullable=False),
        sa.Column('subject', sa.String(length=255), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('detail', TEXT, nullable=False),
        sa.Column('evidence', sa.JSON(), nullable=False),
        sa.Column('at', TIME, nullable=False),
        sa.Column('ended_at', TIME, nullable=True),
        sa.PrimaryKeyConstraint('id'))
    op.create_index('ix_step_recovery_id', 'step', ['recovery_id'])

    op.create_table('move',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('recovery_id', sa.String(length=36), nullable=False),
        sa.Column('instance_id', sa.String(length=36), nullable=False),
        sa.Column('name', sa.String(length=255), nullable=False),
        sa.Column('project_id', sa.String(length=64), nullable=False),
        sa.Column('priority', sa.Integer(), nullable=False),
        sa.Column('position', sa.Integer(), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('reason', TEXT, nullable=False),
        sa.Column('target', sa.String(length=255), nullable=False),
        sa.Column('was', sa.String(length=32), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('faults', sa.Integer(), nullable=False),
        sa.Column('tried', sa.JSON(), nullable=False),
        sa.Column('known', sa.JSON(), nullable=False),
        sa.Column('intent_at', TIME, nullable=True),
        sa.Column('accepted_at', TIME, nullable=True),
        sa.Column('landed_at', TIME, nullable=True),
        sa.Column('ended_at', TIME, nullable=True),
        sa.Column('not_before', TIME, nullable=True),
        sa.ForeignKeyConstraint(['recovery_id'], ['recovery.id'], ),
        sa.PrimaryKeyConstraint('id'),
        sa.UniqueConstraint('recovery_id', 'instance_id'))
    op.create_index('ix_move_instance_id', 'move', ['instance_id'])
    op.create_index('ix_move_state', 'move', ['state'])

