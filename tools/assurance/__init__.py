"""What `make contracts-long` runs: long fuzzing, proofs, static analysis and mutants."""
