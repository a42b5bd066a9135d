"""What the monitoring sees.

``.. vmha-metrics::`` is every metric that engine, API and monitor show, as they show it; they are
asked of a database that has a row of all that is measured. ``.. vmha-alerts::`` is what
the example rules in etc/vmha say.
"""

import contextlib
import datetime
import pathlib
import re
import tempfile

import sqlalchemy as sa
import vmha_rst
import yaml

from vmha_nova.db import models
from vmha_nova.db import store
from vmha_nova import metrics
from vmha_nova.monitor import verdict

ALERTS = pathlib.Path(__file__).resolve().parents[3] / 'etc/vmha/vmha-alerts.yaml'
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
NAMES = ('engine', 'API', 'monitor')


@contextlib.contextmanager
def filled():
    """A database in which nothing that is measured is missing."""
    with tempfile.TemporaryDirectory() as folder:
        url = f'sqlite:///{pathlib.Path(folder, "vmha.sqlite")}'
        made = store.Store(lambda: NOW, connection=url)
        made.upgrade()
        engine = sa.create_engine(url)
        with sa.orm.Session(engine) as session:
            session.add_all([
                models.Leader(id=1, term=1, holder='engine', renewed_at=NOW),
                models.Snapshot(id=1, instances_at=NOW, nodes_at=NOW, written_at=NOW,
                                problems=[], unknown_hosts=[]),
                models.Node(host='spare1', up=True, record=dict(
                    capacity={'VCPU': 1}, used={}, has_room=True)),
                models.HostMark(host='spare1', spare=True),
                models.Capacity(host='spare1', checked_at=NOW, storage_fill=0.5)])
            session.commit()
        engine.dispose()
        yield made


def families():
    """Name -> [family, those that show it], in the order they are shown."""
    with filled() as database:
        engine = metrics.EngineMetrics(database, lambda: NOW)
        api = metrics.Metrics(database, lambda: NOW)
        api.observe_request('GET', '/v1/hosts', 200, 0.1)
        monitor = metrics.MonitorMetrics(verdict.VERDICTS)
        found = {}
        for name, one in zip(NAMES, (engine, api, monitor), strict=True):
            for family in one.registry.collect():
                found.setdefault(family.name, [family, []])[1].append(name)
    return found


def rows():
    """The rows of the table."""
    for name, (family, shown) in families().items():
        labels = sorted({label for sample in family.samples for label in sample.labels} - {'le'})
        total = '_total' if family.type == 'counter' else ''
        yield (f'``{name}{total}``', family.type, vmha_rst.words(labels),
               ', '.join(shown), vmha_rst.plain(family.documentation))


def table():
    """The table."""
    return vmha_rst.table(('Name', 'Type', 'Labels', 'Shown by', 'What it is'),
                          (30, 10, 12, 8, 40), rows())


def alerts():
    """The table of the rules."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())['groups']
             for rule in group['rules']]
    return vmha_rst.table(('Alert', 'Severity', 'After', 'What it says', 'What to do'),
                          (22, 9, 7, 27, 35), (
        (vmha_rst.literal(rule['alert']), rule['labels']['severity'], rule.get('for', 'at once'),
         *(vmha_rst.plain(re.sub('{{.*?}}', '…', rule['annotations'][name]).strip())
           for name in ('summary', 'action'))) for rule in rules))


def setup(app):
    """Called by Sphinx."""
    app.add_directive('vmha-alerts', vmha_rst.directive(alerts))
    app.add_directive('vmha-metrics', vmha_rst.directive(table))
    return {'parallel_read_safe': True}
