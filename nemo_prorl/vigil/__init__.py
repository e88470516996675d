"""Ranks watch over each other: none waits for one that is dead or hangs, and the job's last line says which and where.

In every rank a thread knows the phase, from what the rank tells of itself, and says it to the main rank each second,
over a connection of its own; nothing of it is in the step's way. A rank that dies closes its connection, whatever it
died of; one that stops says nothing more; one that hangs is too long in a phase. The main rank judges, and all end.
"""
