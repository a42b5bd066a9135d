#!/bin/bash
# The phases of DevStack; what is done in them is in lib/.

# shellcheck source=devstack/lib/vmha_nova
source "$VMHA_DIR/devstack/lib/vmha_nova"
# shellcheck source=devstack/lib/vmha_ceph
source "$VMHA_DIR/devstack/lib/vmha_ceph"

case "$1 ${2:-}" in
    "stack pre-install")
        check_vmha_settings
        check_vmha_ceph
        install_vmha_ceph
        ;;
    "stack install")
        echo_summary "Installing vmha-nova"
        install_vmha
        start_vmha_ceph
        ;;
    "stack post-config")
        echo_summary "Configuring vmha-nova"
        configure_vmha_nova
        configure_vmha_ceph_clients
        configure_vmha
        init_vmha
        ;;
    "stack extra")
        echo_summary "Starting vmha-nova"
        start_vmha
        ;;
    "unstack ")
        stop_vmha
        remove_vmha
        remove_vmha_ceph
        ;;
    "clean ")
        cleanup_vmha
        ;;
esac
