"""Peer-to-peer transport: the only package that imports libp2p.

Import from the modules, not from here: `rowen.p2p.network` and `rowen.p2p.session` cost
nothing, while `rowen.p2p.host` pulls in libp2p (about 3 s of CPU).
"""
