"""Which options each engine has in which version: measured tables, facts about successors, and their translation.

Pure but for `sources` and `installed`, which read an engine's files. Called by dialects, the doctor and `pdpanel flags`.
"""
