#!/bin/sh
# An alert agent for Pacemaker: tells vmha of nodes that are lost or were fenced.
#
# On every node of the cluster:
#
#   install -m 755 vmha-pacemaker-alert.sh /usr/local/lib/vmha-pacemaker-alert.sh
#
# and once for the cluster:
#
#   pcs alert create id=vmha path=/usr/local/lib/vmha-pacemaker-alert.sh
#
# It needs vmha-notify, and /etc/vmha/vmha-notify.conf with the transport_url, readable by the user
# hacluster, as whom Pacemaker runs it. It needs no recipient.
#
# What is reported, and as which source:
#
#   node alert "lost"                   pacemaker
#   fencing alert "reboot", successful  pacemaker       it may be up again by now
#   fencing alert "off", successful     pacemaker-off   off, if the fence device cuts the power
#
# Everything else is none of our business. Every node of the cluster that is left reports the same;
# all but the first only count.
#
# Options, as in "pcs alert create … options vmha_domain=example.org":
#
#   vmha_notify  the program (vmha-notify)
#   vmha_config  its configuration file (those that it looks for itself)
#   vmha_kinds   what to report: "node fencing", "node" or "fencing" ("node fencing")
#   vmha_hosts   a file that says how Nova names the nodes: lines "NODE HOST", HOST "-" for a node
#                that is no compute node. Lines that begin with # are comments
#   vmha_domain  how the names of all other nodes go on: node c1 is host c1.example.org

set -u

: "${CRM_alert_kind:=}" "${CRM_alert_node:=}" "${CRM_alert_desc:=}" "${CRM_alert_task:=}"
: "${CRM_alert_rc:=}" "${CRM_alert_timestamp_epoch:=}"
: "${vmha_notify:=vmha-notify}" "${vmha_config:=}" "${vmha_kinds:=node fencing}"
: "${vmha_hosts:=}" "${vmha_domain:=}"

fail() {
    logger -s -t vmha-pacemaker-alert -- "$*" 2>/dev/null || echo "vmha-pacemaker-alert: $*" >&2
    exit 1
}

# Prints how Nova names a node, or nothing: it is no compute node.
host_of() {
    if [ -n "$vmha_hosts" ]; then
        [ -r "$vmha_hosts" ] || return 1
        while read -r node host _ || [ -n "$node" ]; do
            if [ "$node" = "$1" ] && [ -n "$host" ]; then
                [ "$host" = - ] || echo "$host"
                return 0
            fi
        done <"$vmha_hosts"
    fi
    echo "$1${vmha_domain:+.}$vmha_domain"
}

# Prints what was done. Pacemaker gives the name of its own event, st_notify_fence, as the task; the
# action is in the description: "Operation off of c1 by c2 for pacemaker-controld.812@c2: OK (ref=…)".
action() {
    case $CRM_alert_task in
        off|reboot) echo "$CRM_alert_task"; return ;;
    esac
    case $CRM_alert_desc in
        "Operation off of $CRM_alert_node by "*) echo off ;;
        "Operation reboot of $CRM_alert_node by "*) echo reboot ;;
    esac
}

case " $vmha_kinds " in
    *" $CRM_alert_kind "*) ;;
    *) exit 0 ;;
esac
source=pacemaker
case $CRM_alert_kind in
    node)
        [ "$CRM_alert_desc" = lost ] || exit 0
        reason="Pacemaker has lost the node $CRM_alert_node"
        set -- --evidence event=lost
        ;;
    fencing)
        [ "$CRM_alert_rc" = 0 ] || exit 0
        done=$(action)
        case $done in
            off) source=pacemaker-off ;;
            reboot) ;;
            *) exit 0 ;;
        esac
        reason="Pacemaker: $CRM_alert_desc"
        set -- --evidence event=fencing --evidence "action=$done"
        ;;
    *)
        exit 0
        ;;
esac

[ -n "$CRM_alert_node" ] || fail "an alert without a node: $CRM_alert_desc"
host=$(host_of "$CRM_alert_node") \
    || fail "node $CRM_alert_node not reported: $vmha_hosts cannot be read"
[ -n "$host" ] || exit 0

set -- "$@" --evidence "node=$CRM_alert_node" --evidence "reporter=$(uname -n)"
# Seconds are enough, and let the reports of several nodes look the same.
if [ -n "$CRM_alert_timestamp_epoch" ]; then
    when=$(date -u -d "@$CRM_alert_timestamp_epoch" +%Y-%m-%dT%H:%M:%SZ) \
        && set -- "$@" --detected-at "$when"
fi
[ -z "$vmha_config" ] || set -- "$@" --config-file "$vmha_config"

said=$("$vmha_notify" --source "$source" --reason "$reason" "$@" -- "$host" 2>&1) \
    || fail "$host not reported: ${said:-$vmha_notify failed}"
