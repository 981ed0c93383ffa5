"""Reading and writing the chain. The only package that imports web3."""
