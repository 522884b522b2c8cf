"""How large a model is, what memory and bandwidth it needs, and how many prefill and decode workers suit a load.

Pure: values in, values out, each number with the arithmetic that made it. Reads no file and starts nothing.
"""
