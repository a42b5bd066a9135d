"""A small client of the lab's Cinder: volumes that servers boot from."""

from tests.lab.common import LabError
from tests.lab.common import wait_until


class Volumes:
    """Calls Cinder as the administrator. Volumes are Cinder's own dicts.

    :param session: keystoneauth1 session
    :param url: ``State.urls['volume_url']``
    """

    def __init__(self, session, url):
        self.session = session
        self.url = url

    def _call(self, method, path, body=None):
        answer = self.session.request(self.url + path, method, json=body, timeout=60)
        return answer.json() if answer.content else None

    def wait_ready(self, timeout=120):
        """Wait until a volume can be made: the scheduler knows a pool to make it in."""
        wait_until('a pool known to Cinder', lambda: self._call(
            'GET', '/scheduler-stats/get_pools')['pools'], timeout, 0.5)

    def volumes(self):
        """All volumes of all projects."""
        return self._call('GET', '/volumes/detail?all_tenants=1')['volumes']

    def volume(self, volume_id):
        """One volume."""
        return self._call('GET', f'/volumes/{volume_id}')['volume']

    def create(self, image, names, gigabytes=1, timeout=120):
        """Make volumes from an image, and wait until they can be used; returns their ids.

        They carry the image's properties, so that a server started from one has its kernel.

        :param names: what to call them
        :raises LabError: one ended in error, or not all were ready in time
        """
        made = [self._call('POST', '/volumes', {'volume': {
            'name': name, 'size': gigabytes, 'imageRef': image}})['volume']['id']
            for name in names]

        def ready():
            states = [self.volume(one)['status'] for one in made]
            if 'error' in states:
                raise LabError(f'volumes {", ".join(made)}: {", ".join(states)}')
            return states == ['available'] * len(made)

        wait_until(f'{len(made)} volumes available', ready, timeout, 0.3)
        return made

    def delete_all(self, timeout=120):
        """Delete every volume that no server uses, and wait until they are gone."""
        doomed = [one['id'] for one in self.volumes() if one['status'] != 'in-use']
        for one in doomed:
            self._call('DELETE', f'/volumes/{one}')
        wait_until('deletion of the volumes', lambda: not set(doomed) & {
            one['id'] for one in self.volumes()}, timeout, 0.5)


def as_root(volume_id):
    """What the request for a server says to boot from a volume, which is deleted with it."""
    return [{'uuid': volume_id, 'source_type': 'volume', 'destination_type': 'volume',
             'boot_index': 0, 'delete_on_termination': True}]
