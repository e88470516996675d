"""Our own reading of a final answer: from LaTeX or plain text to a tree, and whether two trees mean the same.

`text` cleans, `tokens` cuts, `operands` and `parser` read expressions, `reading` the lists, relations and units around
them; `value` computes, `identity` compares expressions, `relations` equations, and `compare` decides. Nothing here is
ever evaluated as a program, and nothing is computed whose size the tree doesn't bound beforehand.
"""
