"""Passes over problems: each looks at a row and keeps it, or says why it shouldn't be trained on.

A pass has a `name` and `judge(row)`, which gives None or a reason: what stands before its first colon is the kind that
is counted, what follows it the details, such as what a problem matched. A pass with `prepare(rows)` likes to see all
rows before the first is judged; it judges the same without, more slowly.
"""
