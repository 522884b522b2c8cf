"""Which options each engine has in which version: measured tables, facts about successors, and their translation.

Pure but for `sources` and `installed`, which read the files of an engine. Called by dialects, doctor, `pdpanel flags`.
"""
