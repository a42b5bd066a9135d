"""Keeps the Cluster snapshot fresh, with few calls and without ever believing an absence."""

from vmha_nova.collector.board import Settings
from vmha_nova.collector.collector import Collector

__all__ = ['Collector', 'Settings']
