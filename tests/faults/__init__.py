"""Kills, full disks, two at once, cut networks and flipped bits against every stage of dvc.yaml.

`python -m tests.faults` (make faults) tries them at seeded points and compares with an undisturbed
run. What is looked for: something lost, half-written, silently wrong, a hang, an exit without its
one line.
"""
