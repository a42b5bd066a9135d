"""vmha-monitor: watches every compute node on channels that fail independently.

``probe``, ``nova`` and ``storage`` look, ``history`` keeps what they saw of each host, ``verdict``
says what is to be made of it, ``watch`` doubts itself, and ``reporter`` tells the engine.
"""
