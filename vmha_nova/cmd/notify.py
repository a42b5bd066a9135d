"""vmha-notify: report a host as down on the message bus, as a monitoring system does.

Sends one host-down notification and waits until the message bus has confirmed that it has it.
Needs the address of the message bus and nothing else: no database, no Keystone, no engine that
runs. Whether there is such a host, and whether it is down, is checked by who receives the report.
"""

import argparse
import datetime
import json
import logging
import sys
import time

from oslo_config import cfg

from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import messaging
from vmha_nova import version

SENT, NOT_SENT, USAGE = 0, 1, 2
EXITS = ('Exit status: 0 the message bus has confirmed the report, 1 it has not and stderr says '
         'why, 2 the command line makes no sense and nothing was sent. A report may be sent again '
         'at any time: the same one only counts.')
TIMEOUT = 20.0      # seconds; less than the 30 that Pacemaker gives an alert agent
AGAIN = 1.0         # seconds between tries


def main(argv=None):
    """Entry point; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        payload = _payload(args)
    except ValueError as e:
        parser.error(str(e))
    if args.dry_run:
        print(json.dumps(payload, indent=4, ensure_ascii=False))
        return SENT
    # What libraries log is not for the terminal.
    logging.getLogger().addHandler(logging.NullHandler())
    options = [f'--config-file={f}' for f in args.config_file or ()]
    options += [f'--config-dir={d}' for d in args.config_dir or ()]
    try:
        problem = send(opts.load(options, ''), payload, args.timeout)
    except KeyboardInterrupt:
        problem = 'stopped'
    except cfg.Error as e:
        problem = str(e)
    if not problem:
        return SENT
    print(f'vmha-notify: {args.host} was not reported: {" ".join(problem.split())}',
          file=sys.stderr)
    return NOT_SENT


def send(conf, payload, timeout):
    """Send it, trying again while there is time; returns why it was not sent, or ''."""
    report, end, problem = messaging.parse_host_down(payload), time.monotonic() + timeout, ''
    while True:
        try:
            messaging.publish_host_down(conf, retry=0, seconds=end - time.monotonic(), **report)
            return ''
        except exception.Unreachable as e:
            if time.monotonic() >= end:
                return (f'the message bus has not confirmed it within {timeout:g} s'
                        + (f' ({problem})' if problem else '; it may have it all the same'))
            problem = str(e)
        except exception.VmhaError as e:
            return str(e)               # the same the next time
        except Exception as e:
            return f'{type(e).__name__}: {e}'
        if time.monotonic() + AGAIN > end:
            return problem
        time.sleep(AGAIN)


def _payload(args):
    """What will be sent.

    :raises ValueError: the receiver would not understand it; says why
    """
    evidence = {}
    for text in args.evidence:
        evidence.update(_evidence(text))
    detected_at = None
    if args.detected_at is not None:
        try:
            detected_at = datetime.datetime.fromisoformat(args.detected_at)
        except ValueError as e:
            raise ValueError(f'--detected-at: {e}') from e
        if detected_at.tzinfo is None:
            detected_at = detected_at.replace(tzinfo=datetime.timezone.utc)
    payload = messaging.host_down(args.host, args.reason, args.source, evidence, detected_at)
    messaging.parse_host_down(payload)
    try:
        json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:     # an argument may be any bytes
        raise ValueError(f'what is no text in UTF-8 cannot be sent: {e}') from e
    return payload


def _evidence(text):
    """KEY=VALUE, or a JSON object, as a dict."""
    if text.lstrip().startswith('{'):
        try:
            return json.loads(text, parse_constant=_no_number)
        except ValueError as e:
            raise ValueError(f'--evidence: no JSON: {e}') from e
    key, equals, value = text.partition('=')
    if not key or not equals:
        raise ValueError(f'--evidence: {text!r} is neither KEY=VALUE nor a JSON object')
    return {key: value}


def _no_number(name):
    raise ValueError(f'{name} is no number')


def _seconds(text):
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise ValueError(text)
    return seconds


_seconds.__name__ = 'number of seconds'         # argparse's word for what it is not


def _parser():
    parser = argparse.ArgumentParser(
        prog='vmha-notify', description=__doc__.splitlines()[0], epilog=EXITS)
    parser.add_argument('--version', action='version', version=version.version())
    parser.add_argument('host', metavar='HOST',
                        help='as "openstack compute service list" names it')
    parser.add_argument('--reason', required=True, metavar='TEXT',
                        help='what happened, for the operator')
    parser.add_argument('--source', default='vmha-notify', metavar='NAME',
                        help='who says so; [detection] trust goes by it (%(default)s)')
    parser.add_argument('--detected-at', metavar='TIME',
                        help='when it was found, ISO 8601, in UTC without an offset (now)')
    parser.add_argument('--evidence', action='append', default=[], metavar='KEY=VALUE|JSON',
                        help='whatever else is known, kept with the report; repeatable')
    parser.add_argument('--timeout', type=_seconds, default=TIMEOUT, metavar='SECONDS',
                        help='for all tries together (%(default)g)')
    parser.add_argument('--dry-run', action='store_true',
                        help='print the payload of the notification, and send nothing')
    parser.add_argument('--config-file', action='append', metavar='FILE',
                        help='default: /etc/vmha/vmha.conf, /etc/vmha/vmha-notify.conf and what '
                             'else oslo.config looks for')
    parser.add_argument('--config-dir', action='append', metavar='DIR')
    return parser


if __name__ == '__main__':
    sys.exit(main())
