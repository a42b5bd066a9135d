"""TLS to Keystone, Nova, RabbitMQ and MariaDB, with the very options that the documents show."""

import configparser
import pathlib

from tests.functional import base
from tests.lab import accounts
from tests.lab import common
from tests.lab import services
from tests.lab import state
from tests.lab import tls
from vmha_nova.cmd import status
from vmha_nova import preflight

SNIPPET = pathlib.Path(__file__).resolve().parents[2] / 'doc/source/_examples/tls.conf'
REFUSED = 'certificate verify failed'


class TlsTest(base.LabTest):
    """HAProxy in front of Keystone, Nova and Placement; the others speak TLS themselves."""

    database = 'mariadb'

    def setUp(self):
        super().setUp()
        self.certificates = tls.folder(self.lab.state)
        self.addCleanup(self.end)
        self.proxy()
        tls.lead(self.lab.session(), self.lab.state)
        self.addCleanup(tls.lead, self.lab.session(), self.lab.state, secure=False)
        # MariaDB then refuses who comes without TLS.
        accounts.sql(self.lab.state, "ALTER USER 'vmha'@'%' REQUIRE SSL")
        self.addCleanup(accounts.sql, self.lab.state, "ALTER USER 'vmha'@'%' REQUIRE NONE")
        self.secure()

    def proxy(self, **shown):
        """Start HAProxy anew; it shows these certificates."""
        self.end()
        tls.write_proxy(self.lab.state, shown)
        self.lab.start(services.TLS)

    def end(self):
        if services.TLS in self.lab.pids():
            self.lab.kill(services.TLS)

    def secure(self, **overrides):
        """Write vmha.conf with what the documents say, but for names, ports and paths."""
        urls, mine = tls.urls(self.lab.state), self.lab.ports
        snippet = configparser.ConfigParser(interpolation=None, default_section='')
        text = SNIPPET.read_text(encoding='utf-8')
        for words, here in (('/etc/vmha/ca.pem', str(self.certificates / tls.CA)),
                            ('PASSWORD', state.PASSWORD),
                            ('https://controller:5000/v3', urls['auth_url']),
                            ('controller:5671', f'{self.lab.bind}:{mine["rabbitmq_tls"]}'),
                            ('controller:3306', f'{self.lab.bind}:{mine["mariadb"]}')):
            self.assertIn(words, text)
            text = text.replace(words, here)
        snippet.read_string(text)
        said = {f'{group}.{option}': value for group in snippet.sections()
                for option, value in snippet[group].items()}
        self.vmha.configure({**said, 'service_credentials.interface': 'admin',
                             'keystone_authtoken.interface': 'admin', **overrides}, self.database)

    def problems(self):
        """What preflight says that is no mere warning."""
        facts = status.Gathering(self.vmha.conf()).facts()
        return [one.what for one in facts.problems if one.level == preflight.ERROR]

    def test_a_recovery(self):
        self.boot(2, stopped=0)
        self.start()
        self.vmha.start_api()
        self.assertEqual([], self.problems())
        self.die()
        self.wait_over()
        self.assertRecovered()
        listed = self.vmha.openstack('reader', 'vmha', 'recovery', 'list')
        self.assertEqual(['recovered'], [one['State'] for one in listed])

    def test_without_tls_the_database_lets_nobody_in(self):
        self.vmha.sync()
        url = self.lab.urls['vmha_database_url'] + '?ssl_disabled=true'
        self.secure(**{'database.connection': url, 'database.max_retries': 0})
        problem, = self.problems()
        self.assertIn('Access denied', problem)

    def test_a_certificate_that_nobody_here_vouches_for(self):
        self.vmha.sync()
        other = self.certificates / tls.OTHER_CA
        url = self.vmha.conf().database.connection
        for service, certificate, changes in (
                ('Nova and Placement', {'keystone_tls': tls.STRANGER}, {}),
                ('Nova and Placement', {'nova_api_tls': tls.STRANGER}, {}),
                ('Nova and Placement', {'placement_tls': tls.STRANGER}, {}),
                ('Nova and Placement', {'keystone_tls': tls.OTHER_NAME}, {}),
                ('message bus', {}, {'oslo_messaging_rabbit.ssl_ca_file': other}),
                ('database', {}, {'database.max_retries': 0, 'database.connection':
                                  url.partition('?')[0] + f'?ssl_ca={other}'})):
            with self.subTest(service, certificate=certificate):
                self.proxy(**certificate)
                self.secure(**changes)
                problem, = self.problems()
                self.assertEqual(service, problem.partition(':')[0])
                self.assertIn(REFUSED, problem)

    def test_the_engine_says_so_too(self):
        """It does not start without its database; for the others it waits, and says for what."""
        self.vmha.sync()
        other = self.certificates / tls.OTHER_CA
        url = self.vmha.conf().database.connection
        self.secure(**{'database.connection': f'{url.partition("?")[0]}?ssl_ca={other}',
                       'database.max_retries': 0})
        with self.assertRaises(common.LabError) as caught:
            self.vmha.start_engine()
        self.assertIn(REFUSED, str(caught.exception))
        self.secure(**{'oslo_messaging_rabbit.ssl_ca_file': other,
                       'service_credentials.cafile': other, 'keystone_authtoken.cafile': other})
        said = self.vmha.log_file.stat().st_size
        with self.assertRaises(common.LabError):
            self.vmha.start_engine(timeout=10)      # it runs, and knows nothing of the cloud
        with self.vmha.log_file.open() as log:
            log.seek(said)
            lines = [line for line in log if REFUSED in line]
        for words in ('oslo.messaging', 'GET /os-services: SSL exception'):
            self.assertTrue([line for line in lines if words in line], (words, lines))
