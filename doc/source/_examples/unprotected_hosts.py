import openstack

from vmha_nova.osc import client

cloud = openstack.connect(cloud='mycloud')      # clouds.yaml, or OS_* variables
vmha = client.Client(cloud.session)
# Lists are generators: pages are fetched as needed.
unprotected = {host['host']: host['protection_reason'] for host in vmha.hosts(zone='nova')
               if host['protection'] in (None, 'word', 'none') or host['unprotected_instances']}
