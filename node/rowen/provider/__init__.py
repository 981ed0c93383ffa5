"""Selling: serves jobs and collects what they earn."""
