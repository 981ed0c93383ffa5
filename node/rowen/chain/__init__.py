"""The chain: the only package that imports web3 and eth_account.

Import from the modules, not from here: ``rowen.chain.base`` costs nothing, while the first
request through ``rowen.chain.rpc`` pulls in web3 (about 2.6 s of CPU).
"""
