"""Buying: picks providers, pays by the segment, keeps the receipts."""
