"""Tests on a real Ceph, and on a cloud with libvirt whose disks are in it; need root."""
