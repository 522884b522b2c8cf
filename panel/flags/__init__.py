"""Which options each engine has in which version: measured tables, facts about successors, and their translation.

Pure but for `installed` and `extract`, which read an installed engine. Called by dialects, the doctor and `pdpanel flags`.
"""
