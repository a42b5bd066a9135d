"""Tests against the real lab: Nova, RabbitMQ, MariaDB, and our engine as a process."""
