"""What Fogbell promises in figures, each as a ratio to a peer or a bound measured in the same run. `make bench`; not part of the tests."""
