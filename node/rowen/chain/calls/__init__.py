"""The functions of the contracts as typed calls, one module a contract. Written by a tool."""
