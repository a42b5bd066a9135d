"""What vmha-status finds of the fence by power: every BMC is asked for its status, none acts."""

import concurrent.futures

from vmha_nova import exception
from vmha_nova.fencing import fences
from vmha_nova import preflight
from vmha_nova import service

AT_ONCE = 16                            # BMCs asked at a time
WHY = 'this host is not switched off when it dies'


def findings(conf, cluster):
    """A list of preflight.Finding.

    :param cluster: model.Cluster, None where Nova could not be read
    """
    try:
        fence = service.make_power(conf)
        service.make_fence(conf, power_=fence)
        known = fence.problems()
    except exception.VmhaError as e:
        return [preflight.Finding(
            preflight.ERROR, str(e), 'vmha-engine does not start with it', 'correct it')]
    answers = dict.fromkeys(known, '')
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        asked = {host: pool.submit(fence.ask, host)
                 for host, problem in known.items() if not problem}
    for host, answer in asked.items():
        error = answer.exception()
        answers[host] = f'{error}' if error else ''
    answers.update({host: problem for host, problem in known.items() if problem})
    todo = 'correct its section in [fence] power_file, or see to its BMC'
    found = [preflight.Finding(
        preflight.WARNING, f'{host} cannot be switched off: {text}', WHY, todo)
        for host, text in sorted(answers.items()) if text]
    return found + (_names(conf, cluster, known) if cluster is not None else [])


def _names(conf, cluster, known):
    """What does not fit between the file and the compute nodes."""
    why = f'{WHY}; ' + ('the storage fence is used at once' if fences.has(conf, fences.STORAGE)
                        else 'nothing else fences it, and its instances wait')
    found = [preflight.Finding(
        preflight.WARNING, f'{host} has no section in {conf.fence.power_file}', why,
        'add a section with its agent and parameters')
        for host in sorted(cluster.nodes.keys() - known.keys())]
    return found + [preflight.Finding(
        preflight.WARNING, f'{conf.fence.power_file} has a section [{host}]: Nova has no such '
        'compute node', 'the host that is meant is not switched off when it dies',
        'name it as "openstack compute service list" does')
        for host in sorted(known.keys() - cluster.nodes.keys())]
