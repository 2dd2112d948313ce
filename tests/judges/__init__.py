"""Judges we did not write: contracts and clients of Microsoft, held against what Fogbell says and what its tenant answers."""
