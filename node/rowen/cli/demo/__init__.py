"""``rowen demo``: an owner, a developer and an auditor on one machine.

``process`` and ``stage`` set up what is real (processes, chain, keys, channels), ``acts`` does
what the three people would do and measures it, ``play`` puts the acts in order, and ``screen``
and ``terminal`` show them. Acts never print, so tests run them without a screen.
"""
