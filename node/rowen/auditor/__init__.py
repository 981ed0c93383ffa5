"""Checking: rebuilds every balance from the chain and a bundle of receipts."""
