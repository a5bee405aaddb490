"""Where the vectors come from: fixed keys, documents made by hand, cases by rule.

Expected outcomes stand in the cases as the specification asks for them. Nothing here imports an
SDK: what the vectors say must not depend on what one of them does.
"""
