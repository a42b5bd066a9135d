"""${message}"""

from alembic import op
import sqlalchemy as sa

from vmha_nova.db import models

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}
