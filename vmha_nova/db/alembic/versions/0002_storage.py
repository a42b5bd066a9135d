"""Disks of the instances, clients of the storage, and the backend of hosts."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0002'
down_revision = '0001'

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), 'mysql', 'mariadb')


def upgrade():
    op.create_table('storage_client',
        sa.Column('client', sa.String(length=128), nullable=False),
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('user', sa.String(length=255), nullable=False),
        sa.Column('seen_at', TIME, nullable=False),
        sa.PrimaryKeyConstraint('client'))
    op.create_index('ix_storage_client_host', 'storage_client', ['host'])

    op.create_table('host_backend',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('backend', sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint('host'))

    op.create_table('disk_record',
        sa.Column('instance_id', sa.String(length=36), nullable=False),
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('stamp', sa.String(length=64), nullable=False),
        sa.Column('images', sa.JSON(), nullable=False),
        sa.Column('backend', sa.String(length=255), nullable=False),
        sa.Column('problem', TEXT, nullable=False),
        sa.Column('strange', sa.JSON(), nullable=False),
        sa.Column('elsewhere', sa.JSON(), nullable=False),
        sa.Column('seen_at', TIME, nullable=False),
        sa.PrimaryKeyConstraint('instance_id'))
    op.create_index('ix_disk_record_host', 'disk_record', ['host'])

    with op.batch_alter_table('host_mark') as table:
        table.add_column(sa.Column('backend', sa.String(length=255), nullable=False,
                                   server_default=''))
